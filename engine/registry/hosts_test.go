package registry_test

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/moby/buildkit/util/resolver/config"

	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
	"github.com/tenonbuild/tenon/internal/check"
)

func TestTLS(t *testing.T) {
	s := registrytest.NewTLS(t)
	img, layer := picture(t, 1, 1000)
	ref := s.Put(t, "app:1", img)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: s.HTTP.Certificate().Raw}
	check.OK(t, os.WriteFile(ca, pem.EncodeToMemory(block), 0o600))
	yes, no := true, false

	tests := []struct {
		name string
		c    config.RegistryConfig
		says string
	}{
		{"unknown certificate", config.RegistryConfig{PlainHTTP: &no}, "certificate"},
		{"insecure", config.RegistryConfig{PlainHTTP: &no, Insecure: &yes}, ""},
		{"its CA", config.RegistryConfig{PlainHTTP: &no, RootCAs: []string{ca}}, ""},
		{"its CA in a directory", config.RegistryConfig{PlainHTTP: &no, TLSConfigDir: []string{filepath.Dir(ca)}}, ""},
		{"http on loopback is not spoken here", config.RegistryConfig{}, "400"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, w := open(t, registry.Options{Hosts: map[string]config.RegistryConfig{s.Host: tt.c}})
			_, _, err := r.Resolve(t.Context(), ref)
			if tt.says != "" {
				check.Says(t, err, tt.says, s.Host)
				check.Equal(t, "waits", len(w.all()), 0)
				return
			}
			check.OK(t, err)
			check.OK(t, fetch(t.Context(), r, ref, layer))
		})
	}
}

// An insecure registry may also speak plain http.
func TestInsecureFallsBackToHTTP(t *testing.T) {
	s := registrytest.New(t)
	img, layer := picture(t, 1, 1000)
	ref := s.Put(t, "app:1", img)
	yes := true
	r, _ := open(t, registry.Options{Hosts: map[string]config.RegistryConfig{s.Host: {Insecure: &yes}}})
	_, _, err := r.Resolve(t.Context(), ref)
	check.OK(t, err)
	check.OK(t, fetch(t.Context(), r, ref, layer))
}

func TestBadConfiguration(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	check.OK(t, os.WriteFile(empty, []byte("no certificate"), 0o600))
	// Neither waited for nor read without an end.
	pipe, dir := filepath.Join(t.TempDir(), "pipe"), t.TempDir()
	check.OK(t, syscall.Mkfifo(pipe, 0o600))
	check.OK(t, os.Symlink("/dev/zero", filepath.Join(dir, "ca.crt")))
	for name, c := range map[string]config.RegistryConfig{
		"pipe":    {RootCAs: []string{pipe}},
		"device":  {RootCAs: []string{"/dev/zero"}},
		"key":     {KeyPairs: []config.TLSKeyPair{{Key: pipe, Certificate: empty}}},
		"cert":    {KeyPairs: []config.TLSKeyPair{{Key: empty, Certificate: pipe}}},
		"dir":     {TLSConfigDir: []string{dir}},
		"missing": {RootCAs: []string{empty + ".not"}},
		"empty":   {RootCAs: []string{empty}},
		"pair":    {KeyPairs: []config.TLSKeyPair{{Key: empty, Certificate: empty}}},
		"mirror":  {Mirrors: []string{""}},
	} {
		_, err := registry.New(registry.Options{Hosts: map[string]config.RegistryConfig{"reg.example": c}})
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		check.Says(t, err, "reg.example")
	}
}
