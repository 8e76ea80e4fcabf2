"""A CTranslate2 Whisper directory as OpenVINO GenAI's ``WhisperPipeline`` reads it: a peer of the service."""
