package llb_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	tllb "github.com/tenonbuild/tenon/engine/llb"
)

func TestDump(t *testing.T) {
	base := llb.Image("docker.io/library/busybox:latest")
	def := marshal(t, base.Run(llb.Shlex("true"), llb.AddMount("/src", llb.Local("ctx"), llb.Readonly), llb.IgnoreCache).Root())
	var out strings.Builder
	if err := tllb.Dump(&out, def); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines, want one an op", len(lines))
	}
	for i, line := range lines {
		var o tllb.DumpOp
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("line %d: %v", i, err)
		}
		if o.Digest.Validate() != nil || (o.Op.GetExec() != nil) != o.OpMetadata.GetIgnoreCache() {
			t.Errorf("line %d: %s", i, line)
		}
	}
	out.Reset()
	if err := tllb.DumpDot(&out, def); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"digraph {\n",
		`[label="docker-image://docker.io/library/busybox:latest" shape="ellipse"];`,
		`[label="true" shape="box"];`,
		`[label="/src"];`,
		`[label="result" shape="plaintext"];`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
}
