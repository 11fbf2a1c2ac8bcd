//go:build never

package irkit

import (
	_ "filippo.io/age"
	_ "github.com/google/go-containerregistry/pkg/v1"
	_ "github.com/google/nftables"
	_ "github.com/klauspost/compress/s2"
	_ "github.com/minio/minio-go/v7"
	_ "github.com/oklog/ulid/v2"
	_ "github.com/prometheus/procfs"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/urfave/cli/v2"
	_ "github.com/vbauerster/mpb/v8"
	_ "github.com/vishvananda/netlink"
	_ "go.yaml.in/yaml/v3"
	_ "golang.org/x/crypto/ssh"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/term"
	_ "k8s.io/api/core/v1"
	_ "k8s.io/apimachinery/pkg/apis/meta/v1"
	_ "k8s.io/client-go/kubernetes"
	_ "k8s.io/kubectl/pkg/drain"
	_ "cel.dev/cel-go/cel"
	_ "golang.org/x/sync/errgroup"
	_ "k8s.io/streaming/pkg/httpstream"
)
