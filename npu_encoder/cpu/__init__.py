"""The encoder on a CPU: OpenVINO, or CTranslate2."""
