"""What webhooks are sent of: django-webhook sends whenever one is saved."""

from django.db import models


class Payment(models.Model):
    content = models.JSONField()
