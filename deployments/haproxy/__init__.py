"""HAProxy as Serve's manager starts it, made safe and kept alive. Runs in the process that becomes HAProxy, and in a
guard beside it; neither imports Ray.
"""
