package debugger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/agent/frame"
	"irkit.dev/irkit/evidence"
)

// Start injects the hand through o.Recorder (Op inject; in debug-image mode then Op
// exec), waits until it runs, attaches to it and checks that it is the binary that
// was meant. Running again finds a hand that stands, when o.Secret is the same, and
// writes nothing; an ended one is used up, and a further container gets a further name.
//
// A hand that was injected but does not run is an error, and stays in the pod's
// specification: the API has no way to take it back (KEP-277).
func Start(ctx context.Context, o Options) (*Hand, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.Host = o.withDefaults()
	d, err := o.draft(ctx)
	if err != nil {
		return nil, err
	}
	if !d.seat.standing {
		if err := o.record(ctx, &d); err != nil {
			return nil, err
		}
	}
	o.Progress("wait for container " + d.seat.container + " beside " + o.Container)
	pod, status, err := o.await(ctx, d.seat)
	if err != nil {
		return nil, err
	}
	info := Info{
		Namespace: d.seat.namespace, Pod: d.seat.pod, PodUID: d.seat.podUID, Beside: o.Container, Container: d.seat.container,
		Image: d.container.Image, Profile: d.choice.Profile, Inconclusive: d.choice.Inconclusive, Refused: d.choice.Refused,
		SharedPIDs: sharesPIDs(pod),
		Alterations: []evidence.Alteration{{
			What: "ephemeral container " + d.seat.container + " runs in the pod" + where(d.choice.Profile, o.Container),
			Why:  "irkit's hand works beside the target",
		}},
	}
	return o.reach(ctx, d.seat, info, pod, status)
}

// where says whose processes the hand lives among.
func where(p Profile, container string) string {
	if p == P0 {
		return ", in a process namespace of its own"
	}
	return ", in the process namespace of container " + container
}

// record makes the injection. A profile whose dry run was inconclusive may be refused
// only now: then the next is tried.
func (o Options) record(ctx context.Context, d *draft) error {
	for {
		c := d.container
		_, err := o.Recorder.Do(ctx, d.choice.Change, func(ctx context.Context) (json.RawMessage, error) {
			if err := o.inject(ctx, c); err != nil {
				return nil, err
			}
			return json.Marshal(map[string]string{"container": c.Name, "uid": o.Target.UID})
		})
		if err == nil {
			return nil
		}
		if !d.choice.Inconclusive || !denied(err) {
			return err
		}
		d.refuse(d.choice.Profile, err)
		if err := o.ladder(ctx, d, o.below(d.choice.Profile)); err != nil {
			return err
		}
	}
}

func (o Options) below(p Profile) []Profile {
	all := o.Profiles
	if all == nil {
		all = Strong()
	}
	for i, q := range all {
		if q == p.base() {
			return append([]Profile{}, all[i+1:]...)
		}
	}
	return []Profile{}
}

// reach gives a running container its binary where it needs one, and attaches.
func (h Host) reach(ctx context.Context, s seat, info Info, pod *corev1.Pod, status *corev1.ContainerStatus) (*Hand, error) {
	info.Running, info.ImageID, info.Streamed = time.Now().UTC(), status.ImageID, streamed(s.command)
	for _, ip := range pod.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			info.Addrs = append(info.Addrs, a.Unmap())
		}
	}
	l := newLine(h, s)
	connect := func() (*frame.Client, error) {
		return frame.Connect(ctx, l.dial, s.key, frame.ClientOptions{Grace: h.Grace})
	}
	var sum evidence.Digest
	if info.Streamed && !s.standing {
		var err error
		if sum, err = h.stream(ctx, l); err != nil {
			return nil, err
		}
	}
	h.Progress("attach to " + s.container)
	c, err := connect()
	if errors.Is(err, errNotThere) && s.standing {
		if sum, err = h.stream(ctx, l); err == nil {
			c, err = connect()
		}
	}
	if err != nil {
		return nil, err
	}
	if info.Streamed {
		info.Alterations = append(info.Alterations, evidence.Alteration{
			What: "the agent's binary was written into the own file system of container " + s.container,
			Why:  "image " + info.Image + " does not hold it",
		})
	}
	id, err := c.Describe(ctx)
	if err == nil && !sum.IsZero() && id.SHA256 != sum {
		err = fmt.Errorf("worker says that it is %s, streamed was %s: %w", id.SHA256, sum, frame.ErrRefused)
	}
	if err != nil {
		_ = c.Close(ctx, false)
		return nil, fmt.Errorf("attach to %s in pod %s: %w", s.container, s.pod, err)
	}
	return &Hand{Hand: c, info: info, transport: l.transport}, nil
}
