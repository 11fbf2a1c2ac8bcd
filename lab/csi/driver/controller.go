package driver

import (
	"context"
	"strconv"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer
	shelf *shelf
	node  string
}

// Parameters of a VolumeSnapshotClass, for tests of those who wait for a snapshot.
const (
	ParamReadyAfter = "readyAfter" // a Go duration: a snapshot is taken at once, and ready later
	ParamRefuse     = "refuse"     // the error that every snapshot ends with
)

func (d *driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: Name, VendorVersion: "1"}, nil
}

func (d *driver) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{{Type: &csi.PluginCapability_Service_{
		Service: &csi.PluginCapability_Service{Type: csi.PluginCapability_Service_CONTROLLER_SERVICE}}}}}, nil
}

func (d *driver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

func (d *driver) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	var out []*csi.ControllerServiceCapability
	for _, c := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
	} {
		out = append(out, &csi.ControllerServiceCapability{Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: c}}})
	}
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: out}, nil
}

func (d *driver) CreateVolume(ctx context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if r.Name == "" || len(r.VolumeCapabilities) == 0 {
		return nil, status.Error(codes.InvalidArgument, "a name and capabilities are needed")
	}
	if !mounts(r.VolumeCapabilities) {
		return nil, status.Error(codes.InvalidArgument, "only mounted volumes")
	}
	v := volume{Name: r.Name, Capacity: r.GetCapacityRange().GetRequiredBytes()}
	if s := r.GetVolumeContentSource().GetSnapshot(); s != nil {
		if v.From = s.SnapshotId; !d.shelf.has(v.From) {
			return nil, status.Error(codes.NotFound, "no such snapshot")
		}
	}
	d.shelf.mu.Lock()
	defer d.shelf.mu.Unlock()
	id := VolumeID(r.Name)
	if d.shelf.has(id) {
		var had volume
		if err := d.shelf.read(id, &had); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		limit := r.GetCapacityRange().GetLimitBytes()
		if had.Capacity < v.Capacity || limit > 0 && had.Capacity > limit || had.From != v.From {
			return nil, status.Error(codes.AlreadyExists, "there is another volume of that name")
		}
		v = had
	} else if err := d.shelf.put(ctx, id, v.From, v); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{VolumeId: id, CapacityBytes: v.Capacity, ContentSource: r.VolumeContentSource}}, nil
}

func (d *driver) DeleteVolume(_ context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if r.VolumeId == "" {
		return nil, status.Error(codes.InvalidArgument, "a volume is needed")
	}
	d.shelf.mu.Lock()
	defer d.shelf.mu.Unlock()
	if d.shelf.has(r.VolumeId) {
		if err := d.shelf.remove(r.VolumeId); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
	}
	return &csi.DeleteVolumeResponse{}, nil
}

func (d *driver) ValidateVolumeCapabilities(_ context.Context, r *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if r.VolumeId == "" || len(r.VolumeCapabilities) == 0 {
		return nil, status.Error(codes.InvalidArgument, "a volume and capabilities are needed")
	}
	if !d.shelf.has(r.VolumeId) {
		return nil, status.Error(codes.NotFound, "no such volume")
	}
	if !mounts(r.VolumeCapabilities) {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: "only mounted volumes"}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: r.VolumeCapabilities}}, nil
}

func mounts(all []*csi.VolumeCapability) bool {
	for _, c := range all {
		if c.GetBlock() != nil {
			return false
		}
	}
	return true
}

func (d *driver) CreateSnapshot(ctx context.Context, r *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	if r.Name == "" || r.SourceVolumeId == "" {
		return nil, status.Error(codes.InvalidArgument, "a name and a volume are needed")
	}
	if why := r.Parameters[ParamRefuse]; why != "" {
		return nil, status.Error(codes.Internal, why)
	}
	var later time.Duration
	if text := r.Parameters[ParamReadyAfter]; text != "" {
		var err error
		if later, err = time.ParseDuration(text); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	d.shelf.mu.Lock()
	defer d.shelf.mu.Unlock()
	id := snapshotID(r.Name)
	if !d.shelf.has(id) {
		if !d.shelf.has(r.SourceVolumeId) {
			return nil, status.Error(codes.NotFound, "no such volume")
		}
		now := time.Now()
		if err := d.shelf.put(ctx, id, r.SourceVolumeId, snapshot{r.Name, r.SourceVolumeId, now, now.Add(later)}); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
	}
	s, err := d.describe(id)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if s.SourceVolumeId != r.SourceVolumeId {
		return nil, status.Error(codes.AlreadyExists, "there is a snapshot of that name of another volume")
	}
	return &csi.CreateSnapshotResponse{Snapshot: s}, nil
}

func (d *driver) describe(id string) (*csi.Snapshot, error) {
	var s snapshot
	if err := d.shelf.read(id, &s); err != nil {
		return nil, err
	}
	return &csi.Snapshot{SnapshotId: id, SourceVolumeId: s.Source, CreationTime: timestamppb.New(s.Taken), ReadyToUse: !time.Now().Before(s.Ready)}, nil
}

func (d *driver) DeleteSnapshot(_ context.Context, r *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	if r.SnapshotId == "" {
		return nil, status.Error(codes.InvalidArgument, "a snapshot is needed")
	}
	d.shelf.mu.Lock()
	defer d.shelf.mu.Unlock()
	if d.shelf.has(r.SnapshotId) {
		if err := d.shelf.remove(r.SnapshotId); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
	}
	return &csi.DeleteSnapshotResponse{}, nil
}

func (d *driver) ListSnapshots(_ context.Context, r *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	d.shelf.mu.Lock()
	defer d.shelf.mu.Unlock()
	ids, err := d.shelf.snapshots()
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	out := &csi.ListSnapshotsResponse{}
	begin := 0
	if r.StartingToken != "" {
		if begin, err = strconv.Atoi(r.StartingToken); err != nil || begin < 0 || begin > len(ids) {
			return nil, status.Error(codes.Aborted, "a token that this driver did not give")
		}
	}
	for i, id := range ids[begin:] {
		if r.MaxEntries > 0 && len(out.Entries) == int(r.MaxEntries) {
			out.NextToken = strconv.Itoa(begin + i)
			break
		}
		s, err := d.describe(id)
		if err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		if r.SnapshotId != "" && s.SnapshotId != r.SnapshotId || r.SourceVolumeId != "" && s.SourceVolumeId != r.SourceVolumeId {
			continue
		}
		out.Entries = append(out.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: s})
	}
	return out, nil
}
