package main

import (
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/store"
)

// removed counts what was removed by itself. It may be used concurrently.
type removed struct{ bytes, runs, failures atomic.Uint64 }

// add is engine.Options.Collected.
func (r *removed) add(u store.UsageInfo, err error) {
	if err != nil {
		r.failures.Add(1)
		notice("what is kept is more than the rules allow, and could not be removed: " + err.Error())
		return
	}
	r.runs.Add(1)
	r.bytes.Add(uint64(max(0, u.Size)))
}

// metrics answers for Prometheus. What it tells is read when it is asked.
type metrics struct {
	engine  *engine.Engine
	removed *removed
}

func newMetrics(e *engine.Engine, r *removed) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &metrics{e, r})
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
}

var (
	buildsRunning = describe("builds_running", "Builds that are under way.")
	buildsTotal   = describe("builds_total", "Builds that have ended, by result.", "result")
	sessions      = describe("sessions_active", "Sessions of clients.")
	jobsActive    = describe("jobs_active", "Jobs of the solver, among them those of builds.")
	vertices      = describe("vertices_active", "Vertices that the solver has in memory.")
	stepsTotal    = describe("steps_run_total", "Steps that were run.")
	loadsTotal    = describe("cache_hits_total", "Results that were loaded from a cache in place of running a step.")
	mapsTotal     = describe("cache_maps_total", "Times that a step was asked what it depends on.")
	gcBytes       = describe("gc_removed_bytes_total", "Bytes that garbage collection has removed.")
	gcRecords     = describe("gc_removed_records_total", "Records that garbage collection has removed.")
	gcFailures    = describe("gc_failures_total", "Records that garbage collection could not remove.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tenon_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		buildsRunning, buildsTotal, sessions, jobsActive, vertices, stepsTotal, loadsTotal, mapsTotal, gcBytes, gcRecords, gcFailures,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	n := m.engine.Counts()
	gauge := func(d *prometheus.Desc, v int) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(buildsRunning, n.Running)
	count(buildsTotal, n.Succeeded, "succeeded")
	count(buildsTotal, n.Failed, "failed")
	count(buildsTotal, n.Canceled, "canceled")
	gauge(sessions, n.Sessions)
	gauge(jobsActive, n.Solver.Jobs)
	gauge(vertices, n.Solver.Vertices)
	count(stepsTotal, n.Solver.Execs)
	count(loadsTotal, n.Solver.Loads)
	count(mapsTotal, n.Solver.CacheMaps)
	count(gcBytes, m.removed.bytes.Load())
	count(gcRecords, m.removed.runs.Load())
	count(gcFailures, m.removed.failures.Load())
}
