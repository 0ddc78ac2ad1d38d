"""Numbers of this process for Prometheus, put together when it asks (docs/operations.md).

Sockets count in bare integers (sockets/capacity.py), which are read here. Every process speaks for
itself, under a label `process` of its own.
"""

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, current_app, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

import logs
from sockets.replica import survey

BUCKETS = (0.005, 0.025, 0.1, 0.25, 1, 2.5, 10)
METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}  # others are made up


class Metrics(Collector):
    """The numbers of one app."""

    def __init__(self, app: Flask, serve: str) -> None:
        self.app = app
        self.serve = serve
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "wharf_http_request_seconds",
            "Requests answered; sockets are among them only when they were refused",
            ("method", "route", "status"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)

    def collect(self) -> Iterator[Metric]:
        """All numbers, each with the name of this process."""
        process = f"{self.serve}-{os.getpid()}"
        for metric in (*self.registry.collect(), *self.bus(), *self.sync(), *self.sockets()):
            metric.samples = [
                sample._replace(labels={**sample.labels, "process": process})
                for sample in metric.samples
            ]
            yield metric

    def bus(self) -> Iterator[Metric]:
        """What joins the processes."""
        bus = self.app.extensions["bus"]
        yield GaugeMetricFamily(
            "wharf_bus_connected", "0 while the bus has lost a connection", int(bus.is_connected)
        )
        yield SummaryMetricFamily(
            "wharf_bus_lag_seconds",
            "From the commit in another process to its arrival here, by the clocks of both",
            bus.lags,
            bus.lag_seconds,
        )

    def sync(self) -> Iterator[Metric]:
        """What replicas had merged here."""
        counts = self.app.extensions["sync_counts"]
        counters = {
            "wharf_sync_merged": ("Changes of replicas that were stored", counts.merged),
            "wharf_sync_reissued": ("Those stored under a higher col_version", counts.reissued),
            "wharf_sync_refused": ("Changes of replicas that were refused", counts.refused),
        }
        for name, (text, value) in counters.items():
            yield CounterMetricFamily(name, text, value)

    def replicas(self, states: list[object]) -> Iterator[Metric]:
        """The replicas at sockets of this process: the database is not asked."""
        found = survey(states)
        gauges = {
            "wharf_sync_replicas": ("Replicas connected here", found.replicas),
            "wharf_sync_channels": ("Channels they are in", found.channels),
            "wharf_sync_lagging_replicas": ("Those that lack changes", found.lagging),
            "wharf_sync_largest_lag": ("Versions that the last one is behind", found.largest_lag),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value)

    def sockets(self) -> Iterator[Metric]:
        """The sockets, where they are served."""
        if "realtime" not in self.app.extensions:
            return
        house = self.app.extensions["realtime"]
        open_sockets = GaugeMetricFamily("wharf_sockets", "Open sockets", labels=("dialect",))
        connections = list(house.hub.connections.values())
        dialects = Counter(type(one.dialect) for one in connections)
        for dialect, count in dialects.items():
            open_sockets.add_metric((dialect.__module__.rpartition(".")[2],), count)
        yield open_sockets
        refused = CounterMetricFamily(
            "wharf_sockets_refused", "Sockets refused for want of capacity", labels=("reason",)
        )
        for reason, count in list(house.seats.refused.items()):
            refused.add_metric((reason,), count)
        yield refused
        yield from self.replicas([one.state for one in connections])
        yield from self.traffic(house)

    def traffic(self, house: Any) -> Iterator[Metric]:
        """What passes through the sockets, and what waits."""
        traffic, flusher = house.traffic, house.flusher
        gauges = {
            "wharf_topics": ("Topics that are heard here", len(house.hub.topics)),
            "wharf_places": ("Topics where users are", len(house.hub.presence.places)),
            "wharf_seats": ("Places that sockets hold", sum(list(house.seats.taken.values()))),
            "wharf_queued_bytes": ("Bytes that wait for slow clients", traffic.queued_bytes),
            "wharf_slow_clients": ("Clients for whom bytes wait", len(traffic.queued)),
            "wharf_waiting_jobs": ("Messages of clients to handle", len(flusher.jobs)),
            "wharf_waiting_events": ("Committed events to deliver", len(flusher.told)),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value)
        counters = {
            "wharf_slow_closes": ("Clients cut off for being slow", traffic.slow_closes),
            "wharf_resumes": ("Subscriptions that asked for what was missed", traffic.resumed),
        }
        for name, (text, value) in counters.items():
            yield CounterMetricFamily(name, text, value)
        frames = CounterMetricFamily("wharf_frames", "Frames", labels=("direction",))
        sizes = CounterMetricFamily("wharf_bytes", "Bytes on sockets", labels=("direction",))
        for direction in ("in", "out"):
            frames.add_metric((direction,), getattr(traffic, f"frames_{direction}"))
            sizes.add_metric((direction,), getattr(traffic, f"bytes_{direction}"))
        yield from (frames, sizes)
        yield SummaryMetricFamily(
            "wharf_delivery_seconds",
            "From the commit here, or the arrival from elsewhere, until every client was told",
            traffic.deliveries,
            traffic.delivery_seconds,
        )

    def count(self, response: Response) -> Response:
        """After each request: count it. Addresses that are none share one route."""
        status = logs.status_of(response)
        if status != 101:
            method = request.method if request.method in METHODS else "other"
            route = request.url_rule.rule if request.url_rule else "none"
            self.requests.labels(method, route, str(status)).observe(logs.elapsed())
        return response


def answer() -> Response:
    """The numbers of the current app, as Prometheus reads them."""
    return Response(
        generate_latest(current_app.extensions["metrics"]), content_type=CONTENT_TYPE_LATEST
    )


def init_app(app: Flask, serve: str) -> None:
    """Count the requests of `app`; `serve` names the process."""
    app.extensions["metrics"] = metrics = Metrics(app, serve)
    app.after_request(metrics.count)
