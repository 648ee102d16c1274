// Package solver runs a graph of operations with the least work: what a cache
// holds is loaded, what is left is run, and nothing is touched that the result
// does not need. The graph, the operations and the results are the caller's. A whole
// program:
//
//	package main
//
//	import (
//		"context"
//		"fmt"
//		"log"
//
//		"github.com/opencontainers/go-digest"
//		"github.com/tenonbuild/tenon/solver"
//	)
//
//	// step is a Vertex, and the Op that runs it.
//	type step struct {
//		name   string
//		inputs []solver.Edge
//		digest digest.Digest
//	}
//
//	func newStep(name string, inputs ...solver.Edge) solver.Edge {
//		id := name
//		for _, in := range inputs {
//			id += " " + in.Vertex.Digest().String()
//		}
//		return solver.Edge{Vertex: &step{name, inputs, digest.FromString(id)}}
//	}
//
//	func (s *step) Name() string                  { return s.name }
//	func (s *step) Digest() digest.Digest         { return s.digest }
//	func (s *step) Inputs() []solver.Edge         { return s.inputs }
//	func (s *step) Options() solver.VertexOptions { return solver.VertexOptions{} }
//	func (s *step) Sys() interface{}              { return s }
//
//	func (s *step) CacheMap(context.Context, int) (*solver.CacheMap, bool, error) {
//		return solver.NewCacheMap(digest.FromString(s.name), len(s.inputs)), true, nil
//	}
//
//	func (s *step) Exec(_ context.Context, inputs []solver.Result) ([]solver.Result, error) {
//		out := s.name
//		for _, in := range inputs {
//			out += "[" + in.Sys().(string) + "]"
//		}
//		return []solver.Result{text(out)}, nil
//	}
//
//	// text is a Result.
//	type text string
//
//	func (t text) ID() string                    { return string(t) }
//	func (t text) Sys() interface{}              { return string(t) }
//	func (t text) Release(context.Context) error { return nil }
//
//	func main() {
//		s := solver.NewSolver(solver.SolverOpt{
//			ResolveOpFunc: func(v solver.Vertex, _ solver.Builder) (solver.Op, error) { return v.Sys().(*step), nil },
//		})
//		defer s.Close()
//		job, err := s.NewJob("first")
//		if err != nil {
//			log.Fatal(err)
//		}
//		defer job.Discard()
//		src := newStep("src")
//		r, err := job.Build(context.Background(), newStep("link", newStep("compile", src), src))
//		if err != nil {
//			log.Fatal(err)
//		}
//		defer r.Release(context.Background())
//		fmt.Println(r.Sys()) // link[compile[src]][src]
//	}
//
// # The model
//
// A [Vertex] is one node of the graph: what is to be done, and the edges it takes
// as inputs. An [Edge] is one output of a vertex. What is solved is always an
// edge. A vertex is identified by its digest, which covers all that is below it:
// vertices of one digest are one vertex, whoever loads them, and must not differ.
// Options, such as IgnoreCache, are not part of it: they belong to the request.
//
// An [Op] is what runs a vertex. [ResolveOpFunc] finds the op of a vertex, when
// it is first needed. [Op] CacheMap says how the operation is cached; it should be
// quick and sees no inputs. [Op] Exec runs the operation on the results of the
// inputs.
//
// A [CacheKey] names what an edge's result is, in one of two ways:
//
//   - The definition key follows from CacheMap.Digest, the definition keys of the
//     inputs, and the selectors through which the operation sees them. It needs no
//     result, so that a whole graph can be looked up without running anything.
//   - A content key names an input by what it is: a digest of the input's result,
//     computed by the ComputeDigestFunc that the CacheMap gives for this input.
//     It needs the input's result to exist. By it an operation is found whose
//     input was made in another way and came out the same (early cutoff).
//
// A content key, or the digest of an operation without inputs, that begins with LocalPrefix is
// for the default cache alone.
//
// An alias (see [Aliaser]) is a further name of a key, for caches that others have
// written. It may say less than the key: it is looked up in CacheSources, and exported,
// and the default cache never answers to it.
//
// A record is a stored result that a key leads to. A key may have several, or
// none: a key without a record still leads to the keys of what was built on it.
//
// A [Job] is one caller's build. All jobs of a [Solver] share one graph of active
// vertices. A vertex is active as long as a job holds it, or a vertex whose op
// built it.
//
// # What happens in a Build
//
// Build goes through these steps, each edge at its own pace:
//
//  1. Load. The graph below the edge is read, each vertex once, and becomes part
//     of the shared graph. A graph that contains itself is an error.
//  2. Demands go down, keys come up. The edge asks its inputs for their definition
//     keys, and those theirs. CacheMap is called once for each vertex, however
//     many edges and jobs ask.
//  3. Match. For each input the caches are asked whether its keys lead to this
//     operation. A cache in which one input leads nowhere cannot hold a match.
//     Only if a match is still possible, and definition keys do not settle it,
//     inputs are solved for the sake of their content keys. If those match, the
//     definition keys that led there are linked to the same record, so that the
//     next build finds it by the definition.
//  4. Join. If an edge with an equal key is being run already, or was, the edge
//     waits for that execution like any other requester.
//  5. Or load from a cache. The newest record of the keys found is loaded; of
//     those equally new, the default cache's. One that does not load is forgotten,
//     and the next takes its place. The inputs are neither loaded nor run.
//  6. Or run. The inputs are asked for their results, and Exec is called: at most
//     once for a vertex, however many outputs and jobs want it.
//  7. Save. The output that was asked for is saved in the default cache under all
//     keys it is known by.
//
// Independent inputs are solved at the same time. An edge advertises its keys for
// as long as it is active.
//
// An op can solve further edges while it runs, with the [Builder] that it was
// resolved with: see ExampleBuilder. They belong to the op's vertex, inherit its
// cache sources, and show in the progress of its jobs. Pass on the context of the
// call: the op's slot is then free for others while it waits.
//
// # Results and who releases them
//
// A [Result] is a handle of something that the solver does not look into. There
// is one rule: who is handed a Result owns it and releases it once; who is passed
// one as an argument borrows it for the call.
//
//   - The outputs of Exec become the solver's, even if the build was cancelled. An op may
//     return one of its inputs: the output is then a hold of its own.
//   - The inputs of Exec, and the arguments of ComputeDigestFunc, Convert and the
//     Save methods, are borrowed. A storage that keeps one makes a hold of its own.
//   - What Build returns is the caller's. It stays good after Discard.
//   - What CacheManager.Load returns is the solver's.
//
// The solver releases each Result it was handed exactly once, when its last holder
// has gone. [SharedResult] does the counting, for others too.
//
// # Jobs and Discard
//
// A job holds what it has built until [Job.Discard], so a job may Build several
// edges and pays for what they have in common once. Discard gives up all holds.
// Builds of the job that are under way return an error. What other jobs wait for
// goes on, also where this job started it. After the last job the solver holds no
// vertex, no result and no goroutine.
//
// A failed vertex stays failed while it is active: another Build of it returns
// the same error without running it again. To try again, discard the jobs that
// hold it. A cancellation is not a failure, and is not remembered.
//
// [Job.SetValue] keeps values with a job, which ops read with Builder.EachValue:
// of all jobs that the op works for. The context of an op carries no values of
// the caller's, since it works for several callers. [SessionID] finds the session
// of one of them that is still there, [SessionIDs] those of all.
//
// # Caches and sources
//
// A [CacheManager] is a cache. [NewCacheManager] makes one of two parts: a
// [CacheKeyStorage], which keeps the graph of keys, and a [CacheResultStorage],
// which turns results into names and back. Of the first kind there are
// [NewInMemoryCacheStorage], and package logstore, which keeps keys in a file. Of the
// second there are [NewInMemoryResultStorage], for plain values, and package filestore,
// for results that can be written as bytes. Others are the embedder's.
//
// SolverOpt.DefaultCache is read and written. VertexOptions.CacheSources are read
// beside it for one vertex, and for what its op builds; what is found there is
// saved in the default cache. Sources are never written to. A source that is a [LateCache] is
// asked only about what the default cache does not have by its definition. A vertex is
// looked up in at most 32 caches. With VertexOptions.IgnoreCache no cache is read for this vertex; its
// result is saved all the same, and its inputs use caches as usual. What depends on it is
// not found by its definition in this request, only by the content of its new result.
//
// A cache that fails never fails a build that can succeed without it: the failure
// is a warning on the vertex. A cache that does not answer delays nobody but those who
// asked it, and those for SolverOpt.CachePatience. Records and results may vanish at any
// time: an op that finds an input's result gone returns a [LostInputError], and the result
// is made again.
//
// [CachedResult] CacheKeys each have an Exporter, which writes the chain of
// records behind the result to a [CacheExporterTarget]: see ExampleCacheExporter.
//
// # Progress and trace
//
// [Job.Status] sends what happens to the job's vertices, from the beginning
// however late it is called, until the job is discarded. Each vertex ends in
// exactly one way: see client.Outcome. Ops report with [ProgressFrom]. A
// subscriber that does not read delays nobody; what it has not read waits in
// memory.
//
// [Job.Trace] tells what was decided about each edge and why: which cache was
// asked about which input, what it answered, and what was loaded, run or shared.
// It is always on, and can still be read after Discard. A program that keeps the traces of
// its jobs, which are also JSON, learns from [Trace.Since] why an op runs again: what differs
// first from the nearest earlier run of it.
//
// # Concurrency and parallelism
//
// All methods of this package's types may be called concurrently; the fields of a
// Job are to be set before its first Build. Methods of the caller's types may be
// called from any goroutine, several at a time. Look-ups in a key storage that
// says it answers from memory ([MemoryAnswerer]) are made with a lock of the
// solver's held: they must not block, and must not call the solver.
//
// SolverOpt.Parallelism bounds how many ops run at the same time. An op takes
// VertexOptions.Weight slots, and gives them back while it waits for its Builder.
// CacheMap, loads and saves have as many slots of their own, and each cache elsewhere has
// some. Slots are shared between jobs by Job.Priority, and so is the scheduler's own time,
// so that a wide job does not starve a small one.
//
// The default of Parallelism suits ops that wait: for the network, for a disk, for another
// process. Ops that compute only slow each other down when there are more of them than
// processors. If all ops compute, set Parallelism to runtime.GOMAXPROCS(0), and the
// weight of an op to the number of processors that it uses. If some do, keep a large
// Parallelism, and give each op that computes the weight of Parallelism divided by the
// number of processors.
//
// When ctx ends, Build returns at once. The context of shared work ends when the
// last of those who wait for it has gone.
//
// # Errors
//
// An error of an op is a [*VertexError], which names the vertex; errors.Is finds
// the cause. A panic in an op is an error of its vertex, and one in a cache is a
// failure of the cache. So is a goroutine that they end. A content key that cannot be
// computed is an error of the op. A fault of the solver's own fails the builds that met it,
// and no others. What is wrong with a definition (no vertex, a malformed digest, a
// cycle, fewer outputs than an edge's index, a vertex that changed) is an error
// that names it.
package solver
