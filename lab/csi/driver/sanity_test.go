package driver_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"

	"irkit.dev/irkit/lab/csi/driver"
)

// TestSanity holds the driver to the CSI specification, as csi-test reads it.
func TestSanity(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounts volumes: needs root")
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "csi.sock")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- driver.Serve(ctx, driver.Settings{Data: filepath.Join(dir, "data"), Socket: socket, Node: "here"})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	config := sanity.NewTestConfig()
	config.Address = socket
	config.TargetPath = filepath.Join(dir, "target")
	config.StagingPath = filepath.Join(dir, "staging")
	sanity.Test(t, config)
}
