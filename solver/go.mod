module github.com/tenonbuild/tenon/solver

go 1.26

require (
	github.com/containerd/containerd/v2 v2.3.6
	github.com/opencontainers/go-digest v1.0.0
	github.com/opencontainers/image-spec v1.1.1
	go.etcd.io/bbolt v1.5.0
)
