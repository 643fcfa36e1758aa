"""A Django project around django-webhook, as small as one that takes events over HTTP can be."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sender.settings")
app = Celery("sender")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["django_webhook"])
