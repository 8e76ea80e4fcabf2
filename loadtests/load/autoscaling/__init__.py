"""The autoscaling test: how soon replicas are added and removed while clients come and go, and who pays for it."""
