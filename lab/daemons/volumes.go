package daemons

import (
	"io/fs"
	"os"
	"path/filepath"

	"irkit.dev/irkit/lab/identity"
	"irkit.dev/irkit/lab/node"
	"irkit.dev/irkit/lab/place"
)

const (
	volumesSocket = KubeletRoot + "/plugins/csi.lab.irkit.dev/csi.sock"
	// The kubelet watches this folder, and asks each socket in it what it is.
	registrationSocket = KubeletRoot + "/plugins_registry/csi.lab.irkit.dev-reg.sock"
)

// Volumes is the CSI driver: its volumes are directories below the lab's state.
func (s Setup) Volumes() node.Daemon {
	return s.daemon("csi", node.Inside, s.Parts.Binary("csi", "csi"),
		"-data="+s.Layout.StatePath("csi"), "-socket="+volumesSocket,
		"-registration="+registrationSocket, "-node="+place.NodeName)
}

// Snapshots are the controller of VolumeSnapshots, and the sidecar that asks the driver for
// them. Both want the kinds to be there when they start.
func (s Setup) Snapshots() []node.Daemon {
	kubeconfig := "--kubeconfig=" + identity.Kubeconfig(s.Layout, identity.Admin)
	return []node.Daemon{
		s.daemon("snapshot-controller", node.Inside, s.Parts.Binary("snapshotter", "snapshot-controller"), kubeconfig),
		s.daemon("csi-snapshotter", node.Inside, s.Parts.Binary("snapshotter", "csi-snapshotter"), kubeconfig,
			"--csi-address="+volumesSocket),
	}
}

// SnapshotKinds are the CustomResourceDefinitions that the snapshot controller wants: those of
// group snapshots too, for which it waits half a minute where they are missing.
func (s Setup) SnapshotKinds() fs.FS {
	return only{os.DirFS(filepath.Join(s.Parts["snapshotter"], "config", "crd")), "*snapshot.storage.k8s.io_*.yaml"}
}

// only is a file system that lists what a pattern matches.
type only struct {
	fs.FS
	pattern string
}

func (o only) Glob(string) ([]string, error) { return fs.Glob(o.FS, o.pattern) }

// seedVolume puts the bytes of the scene's volume there, before the driver starts.
func (s Setup) seedVolume() error {
	at := s.Layout.StatePath("csi", "volumes", "vol-ledger")
	if err := os.MkdirAll(at, 0o777); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(at, "ledger.txt"), []byte("PLANTED-LEDGER-7c1e: what the volume held\n"), 0o644)
}
