"""The Ingress deployment, the HTTP process: admits requests, drives mel -> encoder -> decoder, and answers."""
