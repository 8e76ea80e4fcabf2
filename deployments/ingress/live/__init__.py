"""Live transcription: speech that is transcribed while it is spoken. Runs in the process of the ingress.

Audio comes in pieces and becomes utterances; each is a request of its own, with text of which only the end changes
while somebody speaks. Knows no sockets: ``deployments.ingress.http.realtime`` connects a session to one.
"""
