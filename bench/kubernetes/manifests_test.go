// Package kubernetes_test checks the manifests of examples/kubernetes by the types of
// Kubernetes' API. It is here because those are a large dependency.
package kubernetes_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// manifest returns what a document is to be decoded to.
func manifest(t *testing.T, doc []byte) any {
	t.Helper()
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(doc, &head); err != nil {
		t.Fatal(err)
	}
	switch schema.FromAPIVersionAndKind(head.APIVersion, head.Kind) {
	case corev1.SchemeGroupVersion.WithKind("ConfigMap"):
		return &corev1.ConfigMap{}
	case corev1.SchemeGroupVersion.WithKind("Service"):
		return &corev1.Service{}
	case appsv1.SchemeGroupVersion.WithKind("StatefulSet"):
		return &appsv1.StatefulSet{}
	case appsv1.SchemeGroupVersion.WithKind("Deployment"):
		return &appsv1.Deployment{}
	}
	t.Fatalf("kind %s of %s is not known here", head.Kind, head.APIVersion)
	return nil
}

// read decodes all documents of a file. A field that the API does not have is an error.
func read(t *testing.T, file string) (all []any) {
	t.Helper()
	dt, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range bytes.Split(dt, []byte("\n---\n")) {
		m := manifest(t, doc)
		if err := yaml.UnmarshalStrict(doc, m); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, m)
	}
	return all
}

// checkPod looks for what ties the fields of a pod together, which no type says.
func checkPod(t *testing.T, selected map[string]string, pod corev1.PodTemplateSpec, volumes ...string) {
	t.Helper()
	for k, v := range selected {
		if pod.Labels[k] != v {
			t.Errorf("the selector asks for %s=%s, and the pod has %q", k, v, pod.Labels[k])
		}
	}
	for _, v := range pod.Spec.Volumes {
		volumes = append(volumes, v.Name)
	}
	c := pod.Spec.Containers[0]
	for _, m := range c.VolumeMounts {
		if !slices.Contains(volumes, m.Name) {
			t.Errorf("%s is mounted, and no volume", m.Name)
		}
	}
	// Buildx and connhelper's kube-pod:// look for a container of this name.
	if c.Name != "buildkitd" || c.SecurityContext == nil || !*c.SecurityContext.Privileged {
		t.Errorf("the container %s is not one that steps run in", c.Name)
	}
	for _, p := range []*corev1.Probe{c.ReadinessProbe, c.LivenessProbe} {
		if p == nil || p.Exec == nil || !slices.Equal(p.Exec.Command, []string{"buildctl", "debug", "workers"}) {
			t.Errorf("a probe is %v", p)
		}
	}
}

func TestManifests(t *testing.T) {
	files, err := filepath.Glob("../../examples/kubernetes/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			ports := map[string]bool{}
			all := read(t, file)
			for _, m := range all {
				switch m := m.(type) {
				case *appsv1.StatefulSet:
					checkPod(t, m.Spec.Selector.MatchLabels, m.Spec.Template, m.Spec.VolumeClaimTemplates[0].Name)
					for _, p := range m.Spec.Template.Spec.Containers[0].Ports {
						ports[p.Name] = true
					}
				case *appsv1.Deployment:
					checkPod(t, m.Spec.Selector.MatchLabels, m.Spec.Template)
				}
			}
			for _, m := range all {
				if s, ok := m.(*corev1.Service); ok {
					for _, p := range s.Spec.Ports {
						if !ports[p.TargetPort.StrVal] {
							t.Errorf("the service leads to the port %s, which no container has", p.TargetPort.StrVal)
						}
					}
				}
			}
		})
	}
}
