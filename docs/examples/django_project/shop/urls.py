# docs/examples/django_project/shop/urls.py
"""The addresses."""

from django.urls import path

from shop import views

urlpatterns = [
    path("sync/<int:number>/", views.in_sync),
    path("async/<int:number>/", views.in_async),
    path("page/", views.page),
]
