"""Everything is on the loopback; the ports come from the script that starts this."""

import os

SECRET_KEY = "only for load tests on the loopback"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
                  "django.contrib.messages", "django_webhook", "sender"]
# The admin site is imported by django-webhook, and never shown.
SILENCED_SYSTEM_CHECKS = ["admin.E403", "admin.E408", "admin.E409", "admin.E410"]
MIDDLEWARE = []
ROOT_URLCONF = "sender.web"
WSGI_APPLICATION = "sender.web.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": "sender", "USER": "sender", "HOST": "127.0.0.1",
    "PORT": os.environ["PEER_POSTGRES_PORT"], "CONN_MAX_AGE": None,
}}
DJANGO_WEBHOOK = {"MODELS": ["sender.Payment"]}

CELERY_BROKER_URL = f"redis://127.0.0.1:{os.environ['PEER_REDIS_PORT']}/0"
CELERY_TASK_IGNORE_RESULT = True
# Without these two a task that is under way when its worker is killed is gone.
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
# After so many seconds what a killed worker had taken is given out again; by default after an hour.
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 30}
CELERY_WORKER_PREFETCH_MULTIPLIER = 16
# Otherwise each task connects to the database anew; the name is looked up with the prefix or without.
CELERY_DB_REUSE_MAX = 1_000_000
