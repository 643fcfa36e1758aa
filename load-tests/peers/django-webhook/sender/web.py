"""Two URLs: who gets the events, and an event."""

import json
import os
import signal

import sender  # noqa: F401  the web process enqueues with Celery's settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

application = get_wsgi_application()

from django_webhook.models import Webhook, WebhookSecret, WebhookTopic  # noqa: E402
from sender.models import Payment  # noqa: E402


def endpoints(request):
    """Replaces all of them. The workers keep the list for a minute, so they are replaced as well."""
    Webhook.objects.all().delete()
    topic, _ = WebhookTopic.objects.get_or_create(name="sender.Payment/create")
    for endpoint in json.loads(request.body):
        webhook = Webhook.objects.create(url=endpoint["url"])
        webhook.topics.add(topic)
        WebhookSecret.objects.create(webhook=webhook, token=endpoint["secret"])
    os.kill(os.getppid(), signal.SIGHUP)
    return HttpResponse(status=204)


def events(request):
    """Answered once the event is in the database and a task for each endpoint in the queue."""
    Payment.objects.create(content=json.loads(request.body))
    return HttpResponse(status=202)


urlpatterns = [path("endpoints", endpoints), path("events", events)]
