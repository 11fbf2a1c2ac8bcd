package daemons

import (
	"net"

	"irkit.dev/irkit/lab/node"
	"irkit.dev/irkit/lab/place"
)

// Store is the S3 service, over TLS. Its object locks are kept as extended
// attributes, so its directory must be on a file system that has them.
func (s Setup) Store() node.Daemon {
	l := s.Layout
	d := s.daemon("versitygw", node.Inside, s.Parts.Binary("s3", "versitygw"),
		"--port=0.0.0.0:7070",
		"--cert="+l.Certificate("store"), "--key="+l.Key("store"),
		"--region="+place.StoreRegion,
		"--health=/health", "--quiet", "--keep-alive",
		"posix", "--versioning-dir="+l.StatePath("s3", "versions"), l.StatePath("s3", "buckets"))
	d.Env = append(d.Env, "ROOT_ACCESS_KEY_ID="+place.StoreUser, "ROOT_SECRET_ACCESS_KEY="+place.StoreSecret)
	return d
}

// Forwarder makes the API server and the store reachable on the machine's
// loopback.
func (s Setup) Forwarder() node.Daemon {
	return s.daemon("forwarder", node.Outside, s.Self, "forward")
}

// CommandServer is the suspect's other end, out in the world. Its log is the
// clock by which containment is measured. It listens on every address of the world.
func (s Setup) CommandServer() node.Daemon {
	return s.daemon("command-server", node.World, s.Parts.Binary("suspect", "suspect"), "c2",
		s.Layout.StatePath("log", "c2.log"),
		net.JoinHostPort("", place.CommandPort),
		net.JoinHostPort("", place.KnockPort))
}

// Bystander answers on a port of the node that is not the kubelet's: a suspect
// that is contained must not reach it.
func (s Setup) Bystander() node.Daemon {
	return s.daemon("bystander", node.Inside, s.Parts.Binary("suspect", "suspect"), "listen",
		net.JoinHostPort("", place.BystanderPort))
}
