// Package recorder has builds of an engine in this process leave records in its history.
package recorder

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/identity"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/solver/client"
)

// Recorder records builds. Its Build is that of the engine.
type Recorder struct {
	Engine *engine.Engine
	Limits history.Limits
	// Project names what is built, and Command is the command line.
	Project string
	Command []string
	// Caches are those of others that the build was to read, and does not.
	Caches []why.Cache
	// Explain has the status say of steps why they run that earlier builds had.
	Explain bool
	// Notice, if not nil, is told why something could not be recorded. The build goes on.
	Notice func(text string)
}

func (r *Recorder) notice(err error) {
	if err != nil && r.Notice != nil {
		r.Notice("the build's record in the history is not whole: " + err.Error())
	}
}

// Build builds as Engine.Build does, and records it.
func (r *Recorder) Build(ctx context.Context, req engine.Request) (*engine.Response, error) {
	if r.Limits.None {
		return r.Engine.Build(ctx, req)
	}
	if req.ID == "" {
		req.ID = identity.NewID()
	}
	rec, err := r.begin(&req)
	if err != nil {
		r.notice(err)
		return r.Engine.Build(ctx, req)
	}
	account := &why.Build{
		Ref: req.ID, Project: r.Project, Command: clean(r.Command), Attrs: attrs(req.FrontendAttrs), Begun: time.Now(),
		Revision: req.FrontendAttrs["vcs:revision"], Caches: slices.Clone(r.Caches),
	}
	if req.MayRun != nil {
		req.MayRun = r.saying(req.MayRun, *account)
	}
	var log errgroup.Group
	to, happens := req.Status, make(chan *client.SolveStatus)
	req.Status, req.Account = happens, true
	l := &live{r: r, now: account}
	log.Go(func() error { return record(rec, l, happens, to) })
	res, err := r.Engine.Build(ctx, req)
	r.notice(log.Wait())
	var said map[string]string
	if res != nil {
		account.Steps, account.Omitted = res.Steps, res.OmittedSteps
		said = map[string]string{}
		for _, s := range res.Exporters {
			maps.Copy(said, s)
		}
	}
	account.Ended = time.Now()
	if err != nil {
		account.Error = why.Redacted(err.Error())
	}
	rec.Account(account)
	r.notice(rec.End(said, err))
	return res, err
}

func (r *Recorder) begin(req *engine.Request) (*history.Recording, error) {
	h, err := history.Append(engine.History(r.Engine.Store().Root()), r.Limits)
	if err != nil {
		return nil, err
	}
	rec := &controlapi.BuildHistoryRecord{Ref: req.ID, Frontend: req.Frontend, FrontendAttrs: attrs(req.FrontendAttrs)}
	for _, x := range req.Exports {
		rec.Exporters = append(rec.Exporters, &controlapi.Exporter{Type: x.Type, Attrs: x.Attrs})
	}
	return h.Begin(rec)
}

// record writes the log, and passes on what happens.
func record(rec *history.Recording, l *live, from <-chan *client.SolveStatus, to chan<- *client.SolveStatus) error {
	if to != nil {
		defer close(to)
	}
	convert := progress.Converter{Begin: time.Now()}
	var failed error
	for st := range from {
		note(l.now, st)
		l.explain(st)
		for _, m := range convert.Convert(st).Marshal() {
			if failed == nil {
				failed = rec.Log(m)
			}
		}
		if to != nil {
			to <- st
		}
	}
	return failed
}

// importing begins the name of what reads a cache of others.
const importing = "importing cache manifest from "

// note keeps which caches of others were read.
func note(account *why.Build, st *client.SolveStatus) {
	for _, v := range st.Vertexes {
		name, ok := strings.CutPrefix(v.Name, importing)
		if !ok || v.Completed == nil {
			continue
		}
		account.Caches = append(account.Caches, why.Cache{Name: name, Error: v.Error})
	}
}

// attrs are a frontend's attributes without what has credentials.
func attrs(all map[string]string) map[string]string {
	out := make(map[string]string, len(all))
	for k, v := range all {
		if k != "cache-imports" {
			out[k] = why.Redacted(v)
		}
	}
	return out
}

// clean is a command line without credentials in URLs.
func clean(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		name, value, ok := strings.Cut(a, "=")
		if ok && strings.HasPrefix(name, "-") {
			out[i] = name + "=" + why.Redacted(value)
		} else {
			out[i] = why.Redacted(a)
		}
	}
	return out
}
