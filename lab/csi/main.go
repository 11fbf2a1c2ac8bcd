// Command csi is a CSI driver whose volumes are directories of the node: small enough to be
// read, complete enough for snapshots. The kubelet, the snapshot controller and its sidecar
// that speak with it are the real ones.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"irkit.dev/irkit/lab/csi/driver"
)

func main() {
	var s driver.Settings
	flag.StringVar(&s.Data, "data", "", "`directory` of volumes and snapshots")
	flag.StringVar(&s.Socket, "socket", "", "where the driver answers, a unix socket's `path`")
	flag.StringVar(&s.Registration, "registration", "", "where the kubelet asks what the driver is; none: it is not asked")
	flag.StringVar(&s.Node, "node", "", "`name` of this node")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := driver.Serve(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "csi:", err)
		os.Exit(1)
	}
}
