package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// buildFlags are the flags of build, with the names and meanings of docker
// buildx build.
type buildFlags struct {
	file          string
	tags          []string
	target        string
	buildArgs     []string
	platforms     []string
	labels        []string
	annotations   []string
	noCache       bool
	noCacheFilter []string
	countTimes    nameTexts
	pull          pullPolicy
	outputs       []string
	push          bool
	load          bool
	secrets       []string
	ssh           []string
	contexts      []string
	network       string
	addHosts      []string
	ulimits       []string
	shmSize       string
	cgroupParent  string
	progress      string
	metadataFile  string
	iidFile       string
	call          string
	check         bool
	quiet         bool
	allow         []string
	provenance    string
	sbom          string
	attests       []string
	policies      []string
	cacheFrom     []string
	cacheTo       []string
	verify        bool
	failOnRun     nameTexts
	explain       bool
	mayDelete     bool // --allow buildx.local.delete
}

func (f *buildFlags) register(fs *pflag.FlagSet) {
	fs.StringVarP(&f.file, "file", "f", "", `the Dockerfile (default: "PATH/Dockerfile", then "PATH/Containerfile"); "-" reads it from standard input; a pipe or an http(s) URL is read, too`)
	fs.StringArrayVarP(&f.tags, "tag", "t", nil, `name of the image, as "name:tag"; it goes into Tenon's own store (tenon images)`)
	fs.StringVar(&f.target, "target", "", "stage to build")
	fs.StringArrayVar(&f.buildArgs, "build-arg", nil, `value of an ARG, as "NAME=value"; "NAME" alone takes it from the environment`)
	fs.StringSliceVar(&f.platforms, "platform", nil, `platforms to build for, as "linux/amd64,linux/arm64"; "local" is this machine's (default $DOCKER_DEFAULT_PLATFORM)`)
	fs.StringArrayVar(&f.labels, "label", nil, `label of the image, as "name=value"`)
	fs.StringArrayVar(&f.annotations, "annotation", nil, `annotation of the image's manifest, as "name=value"; "index:", "manifest[linux/amd64]:" and the like before it say where it goes`)
	fs.BoolVar(&f.noCache, "no-cache", false, "run every step, whatever is in the cache, and begin with empty cache mounts")
	fs.StringSliceVar(&f.noCacheFilter, "no-cache-filter", nil, "run every step of these stages, and what depends on them; their cache mounts begin empty")
	fs.Var(&f.countTimes, "count-times", `steps whose result is another one if only the times of its files are, as texts in the names of these steps, with commas: "RUN make,COPY src"; without a value, all steps. What depends on them then runs again when they do`)
	fs.Lookup("count-times").NoOptDefVal = allSteps
	fs.Var(&f.pull, "pull", `when registries are asked for base images: "always" (what --pull alone is), also for those of tenon images; "missing", only for those that are not in the store; "never"; without it, at each build, but not for those of tenon images`)
	fs.Lookup("pull").NoOptDefVal = string(pullAlways)
	fs.StringArrayVarP(&f.outputs, "output", "o", nil, `what to make of the result: a directory, or "type=local|tar|oci|docker|image|registry|cacheonly,dest=PATH,..."; "-" is a tar on standard output`)
	fs.BoolVar(&f.push, "push", false, "push the image to its registry, as --output type=registry, and do not store it here")
	fs.BoolVar(&f.load, "load", false, "load the image into the docker engine of this machine")
	fs.StringArrayVar(&f.secrets, "secret", nil, `secret for RUN --mount=type=secret, as "id=ID,src=FILE" or "id=ID,env=NAME"`)
	fs.StringArrayVar(&f.ssh, "ssh", nil, `SSH agent or keys for RUN --mount=type=ssh, as "default" or "ID=SOCKET|KEY[,KEY...]"`)
	fs.StringArrayVar(&f.contexts, "build-context", nil, `further context, as "name=PATH", or a URL, "docker-image://..." or "oci-layout://PATH[:TAG][@DIGEST]" in place of the path`)
	fs.StringVar(&f.network, "network", "default", `network of RUN steps: "default" (of their own), "host" (this machine's; with --allow network.host) or "none"`)
	fs.StringSliceVar(&f.addHosts, "add-host", nil, `further host for RUN steps, as "name:IP"; "host-gateway" as the IP is this machine`)
	fs.StringArrayVar(&f.ulimits, "ulimit", nil, `limit for RUN steps, as "nofile=1024:2048"`)
	fs.StringVar(&f.shmSize, "shm-size", "", `size of /dev/shm in RUN steps, as "128m"`)
	fs.StringVar(&f.cgroupParent, "cgroup-parent", "", "parent cgroup of RUN steps")
	fs.StringVar(&f.progress, "progress", "auto", `how progress is shown: "auto", "tty", "plain", "quiet", "none" (quiet without the image's ID) or "rawjson" (BUILDKIT_PROGRESS)`)
	fs.StringVar(&f.metadataFile, "metadata-file", "", "file to write what is known of the result to, as JSON")
	fs.StringVar(&f.iidFile, "iidfile", "", "file to write the image's ID to")
	fs.StringVar(&f.call, "call", "build", `what to do: "build", "check", "outline", "targets" or "subrequests.describe"; ",format=json" and ",ignorestatus=true" may follow`)
	fs.BoolVar(&f.check, "check", false, "look for mistakes in the Dockerfile without building it, as --call=check")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress; print the image's ID")
	fs.StringSliceVar(&f.allow, "allow", nil, `what a build may do beyond the usual: "network.host", "security.insecure"; "buildx.local.delete" for -o type=local,mode=delete of a directory that is not below the current one`)
	fs.StringArrayVar(&f.attests, "attest", nil, `what to say of the result, as "type=provenance,mode=max" or "type=sbom,generator=IMAGE"`)
	fs.StringVar(&f.provenance, "provenance", "", `how the result was built, as SLSA provenance: "true", "mode=min", "version=v0.2"; short for --attest type=provenance`)
	fs.StringVar(&f.sbom, "sbom", "", `what the result is made of, as a scanner says: "true" or "generator=IMAGE"; short for --attest type=sbom`)
	fs.StringArrayVar(&f.cacheFrom, "cache-from", nil, `cache of another builder to use, as "type=local,src=DIR" or "type=registry,ref=NAME"; NAME alone is in a registry`)
	fs.StringArrayVar(&f.cacheTo, "cache-to", nil, `where to write the cache of this build for others, as "type=local,dest=DIR,mode=max", "type=registry,ref=NAME" or "type=inline"`)
	fs.BoolVar(&f.explain, "explain", true, "say of each step that runs why it does, if an earlier build had it")
	fs.BoolVar(&f.verify, "verify", false, "run each command that runs a second time, and show in which files, and where in them, its output differs; exit code 3 if one does")
	fs.Var(&f.failOnRun, "fail-on-run", `fail before a step runs that no cache has: one of those with these texts, separated by commas, in their names; without a value, any step`)
	fs.Lookup("fail-on-run").NoOptDefVal = allSteps
	fs.StringArrayVar(&f.policies, "policy", nil, "")
	fs.Lookup("policy").Hidden = true // only to say that there be none
	for _, name := range refusedNames {
		fs.VarP(&refused{name: name, why: refusedFlags[name]}, name, refusedShorthands[name], "")
		fs.Lookup(name).Hidden = true
		if refusedBools[name] {
			fs.Lookup(name).NoOptDefVal = "true"
		}
	}
	for _, name := range []string{"rm", "force-rm"} {
		fs.Var(&so{name}, name, "")
		fs.Lookup(name).Hidden, fs.Lookup(name).NoOptDefVal = true, "true"
	}
}

// refusedFlags are flags of docker build and docker buildx build that are not
// there, and why or what to do instead.
var refusedFlags = map[string]string{
	"builder":         "there are no builder instances: a build runs in this process",
	"compress":        "there is no socket to compress for: a local context is read in place",
	"cpu-period":      "limits of a step's resources are not there yet: --cgroup-parent names a cgroup that has them",
	"cpu-quota":       "limits of a step's resources are not there yet: --cgroup-parent names a cgroup that has them",
	"cpu-shares":      "limits of a step's resources are not there yet: --cgroup-parent names a cgroup that has them",
	"cpuset-cpus":     "limits of a step's resources are not there yet: --cgroup-parent names a cgroup that has them",
	"cpuset-mems":     "limits of a step's resources are not there yet: --cgroup-parent names a cgroup that has them",
	"credential-spec": "it is for Windows",
	"detach":          "there is no server that would go on with the build",
	"isolation":       "it is for Windows",
	"memory":          "limits of a step's resources are not there yet: --cgroup-parent names a cgroup that has them",
	"memory-swap":     "limits of a step's resources are not there yet: --cgroup-parent names a cgroup that has them",
	"print":           "it is --call now, as in docker buildx build",
	"resource":        "limits of a step's resources are not there yet: --cgroup-parent names a cgroup that has them",
	"security-opt":    "steps run with the default profile, or without any: see RUN --security=insecure and --allow",
	"squash":          "layers are not squashed; COPY --from a finished stage into an empty one does the same",
	"stream":          "a local context is read in place",
}

var refusedNames = sortedKeys(refusedFlags)

// refusedBools are those of them that have no value.
var refusedBools = map[string]bool{"compress": true, "detach": true, "squash": true, "stream": true}

// refusedShorthands are their one-letter names.
var refusedShorthands = map[string]string{"cpu-shares": "c", "memory": "m"}

// refused is a flag that fails when it is set.
type refused struct{ name, why string }

func (r *refused) String() string   { return "" }
func (r *refused) Type() string     { return "string" }
func (r *refused) Set(string) error { return refusedError("--" + r.name + " is not there: " + r.why) }

// refusedError says all there is to say of a flag.
type refusedError string

func (e refusedError) Error() string { return string(e) }

// so is a flag that says what is so anyway: it is taken, but not its opposite.
type so struct{ name string }

func (s *so) String() string { return "true" }
func (s *so) Type() string   { return "bool" }
func (s *so) Set(v string) error {
	yes, err := strconv.ParseBool(v)
	if err == nil && !yes {
		err = refusedError("--" + s.name + "=false is not there: the containers of steps are always removed")
	}
	return err
}

// validate says what of the flags cannot be.
func (f *buildFlags) validate() error {
	if err := f.checkPolicies(); err != nil {
		return err
	}
	if err := f.checkAllow(); err != nil {
		return err
	}
	if f.quiet && f.progress != "auto" && f.progress != "quiet" && f.progress != "none" {
		return fmt.Errorf("--quiet and --progress=%s: one of them", f.progress)
	}
	if f.check && f.call != "build" && f.call != "check" {
		return fmt.Errorf("--check and --call=%s: one of them", f.call)
	}
	if f.check {
		f.call = "check"
	}
	if f.verify && f.call != "build" {
		return fmt.Errorf("--verify and --call=%s: nothing runs for the latter: leave out one of them", f.call)
	}
	if f.failOnRun != nil && len(f.failOnRun) == 0 {
		return errors.New("--fail-on-run has no text: leave the value out for any step")
	}
	if f.noCache && len(f.noCacheFilter) > 0 {
		return fmt.Errorf("--no-cache and --no-cache-filter: the first already covers the stages %s", strings.Join(f.noCacheFilter, ", "))
	}
	if f.network == "host" && !slices.Contains(f.allow, "network.host") {
		return errors.New("--network=host: steps would reach what listens on this machine's loopback, and its abstract unix sockets: if you trust them, add --allow network.host")
	}
	return nil
}
