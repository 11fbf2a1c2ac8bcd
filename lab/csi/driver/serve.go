// Package driver is a CSI 1.x driver with volumes that are directories: identity, controller
// and node service in one process (https://github.com/container-storage-interface/spec).
package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	pluginregistration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Name is what a PersistentVolume and a VolumeSnapshotClass call the driver.
const Name = "csi.lab.irkit.dev"

// Settings say where a driver stands.
type Settings struct {
	Data         string // volumes/ and snapshots/ are below it
	Socket       string
	Registration string // the kubelet's plugins_registry; empty: not registered
	Node         string
}

// Serve answers until ctx ends. A socket left by an earlier one is taken over.
func Serve(ctx context.Context, s Settings) error {
	shelf, err := open(s.Data)
	if err != nil {
		return err
	}
	d := &driver{shelf: shelf, node: s.Node}
	server := grpc.NewServer()
	csi.RegisterIdentityServer(server, d)
	csi.RegisterControllerServer(server, d)
	csi.RegisterNodeServer(server, d)
	servers := []*grpc.Server{server}
	ended := make(chan error, 2)
	if err := listen(server, s.Socket, ended); err != nil {
		return err
	}
	if s.Registration != "" {
		r := grpc.NewServer()
		pluginregistration.RegisterRegistrationServer(r, registration{socket: s.Socket})
		if err := listen(r, s.Registration, ended); err != nil {
			server.Stop()
			return err
		}
		servers = append(servers, r)
	}
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	for _, one := range servers {
		one.Stop()
	}
	return err
}

func listen(server *grpc.Server, path string, ended chan<- error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("answer at %s: %w", path, err)
	}
	go func() { ended <- server.Serve(l) }()
	return nil
}

// registration is what the kubelet asks a plugin whose socket it found.
type registration struct {
	pluginregistration.UnimplementedRegistrationServer
	socket string
}

func (r registration) GetInfo(context.Context, *pluginregistration.InfoRequest) (*pluginregistration.PluginInfo, error) {
	return &pluginregistration.PluginInfo{Type: pluginregistration.CSIPlugin, Name: Name, Endpoint: r.socket, SupportedVersions: []string{"1.0.0"}}, nil
}

func (r registration) NotifyRegistrationStatus(_ context.Context, s *pluginregistration.RegistrationStatus) (*pluginregistration.RegistrationStatusResponse, error) {
	if !s.PluginRegistered {
		fmt.Fprintln(os.Stderr, "csi: the kubelet refused the driver:", s.Error)
	}
	return &pluginregistration.RegistrationStatusResponse{}, nil
}
