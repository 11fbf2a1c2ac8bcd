package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/agent/embedded"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/seal"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/playbooks/actions"
	"irkit.dev/irkit/quarantine"
)

// connect makes the connection that the flags name.
func (d *door) connect(c *cli.Context, caseID string) (*cluster.Conn, error) {
	return cluster.Connect(cluster.Options{
		Kubeconfig: c.String("kubeconfig"), Context: c.String("context"), Namespace: c.String("namespace"),
		As: c.String("as"), AsGroups: c.StringSlice("as-group"), Case: caseID, Version: version,
		Warn:   func(text string) { d.warn("the API server says: %s", text) },
		Notice: func(text string) { d.say("%s", text) },
	})
}

// order turns flags and argument into an order and the engine that runs it. Here the
// pod's name is a string for the last time.
func (d *door) order(c *cli.Context, plan *playbooks.Plan, skipFirst bool) (playbooks.Order, *playbooks.Engine, error) {
	o := playbooks.Order{Plan: plan}
	if err := d.checkSessionFlags(c, &o); err != nil {
		return o, nil, err
	}
	if err := d.openStore(c, &o); err != nil {
		return o, nil, err
	}
	pod, err := podArgument(c, skipFirst)
	if err != nil {
		return o, nil, err
	}
	engine, err := d.engine(c)
	if err != nil {
		return o, nil, err
	}
	var asked sync.WaitGroup
	asked.Go(func() {
		if who, err := engine.Conn.WhoAmI(c.Context); err == nil {
			engine.Actor.Kube, engine.Actor.Groups = who.Name, who.Groups
		}
	})
	err = d.resolve(c, engine.Conn, &o, pod)
	asked.Wait()
	if err != nil {
		return o, engine, err
	}
	if o.Case, err = d.caseOf(c, engine, o.Target); err != nil {
		return o, engine, err
	}
	if engine.Conn, err = d.connect(c, o.Case); err != nil { // now the user agent names the case
		return o, engine, err
	}
	return o, engine, nil
}

func (d *door) checkSessionFlags(c *cli.Context, o *playbooks.Order) (err error) {
	o.Authority = evidence.Authority{Basis: c.String("authority"), Purpose: c.String("purpose"), Approver: c.String("approver")}
	o.Skip, o.KeepOwner, o.Hold, o.Force = c.StringSlice("skip"), c.Bool("keep-owner"), c.Bool("hold"), c.Bool("force")
	o.Protected = flatWords(c.StringSlice("protected"))
	layers := []string{quarantine.LayerNetns, quarantine.LayerNetpol, quarantine.LayerDeny, quarantine.LayerDetach, quarantine.LayerProtect, quarantine.LayerCordon}
	for _, s := range o.Skip {
		if !slices.Contains(layers, s) {
			return usagef("", fmt.Errorf("--skip %s: want one of %s", s, strings.Join(layers, ", ")))
		}
	}
	for _, a := range c.StringSlice("allow") {
		allow, err := parseAllow(a)
		if err != nil {
			return usagef("--allow 10.1.2.3/32:443", err)
		}
		o.Allow = append(o.Allow, allow)
	}
	o.AllowDNS = c.Bool("allow-dns")
	for i, a := range c.StringSlice("canary") {
		addr, err := netip.ParseAddrPort(a)
		if err != nil {
			return usagef("--canary 203.0.113.7:443", fmt.Errorf("--canary %s: %w", a, err))
		}
		o.Canaries = append(o.Canaries, evidence.Probe{Name: "canary-" + strconv.Itoa(i+1), Proto: "tcp", Addr: addr})
	}
	if o.Values, o.Justification = c.Bool("include-secret-values"), c.String("justification"); o.Values && o.Justification == "" {
		return usagef("--justification TEXT goes into custody", errors.New("--include-secret-values without --justification"))
	}
	o.IncludeVolumes = c.Bool("include-volumes")
	if err := budgets(c, o); err != nil {
		return err
	}
	if err := filesystemOf(c, o); err != nil {
		return err
	}
	return handOf(c, o)
}

// budgets reads what is asked for beyond the playbook, and how much of anything.
func budgets(c *cli.Context, o *playbooks.Order) error {
	if o.Memory = c.String("memory"); o.Memory != "" && !actions.MemoryWord(o.Memory) {
		return usagef("", fmt.Errorf("--memory %s: want all, anon-exec or a process's number", o.Memory))
	}
	if o.Packets = c.Duration("packets"); c.IsSet("packets") && (o.Packets <= 0 || o.Packets > time.Hour) {
		return usagef("--packets 30s", fmt.Errorf("--packets %s: want more than nothing and an hour at most", o.Packets))
	}
	if s := c.String("max-bytes"); s != "" {
		q, err := resource.ParseQuantity(s)
		if err != nil || q.Value() <= 0 {
			return usagef("--max-bytes 512Mi", fmt.Errorf("--max-bytes %s: no size", s))
		}
		o.MaxBytes = q.Value()
	}
	return nil
}

// handOf reads the flags that say how a hand is started, and wants one where the plan does.
func handOf(c *cli.Context, o *playbooks.Order) error {
	o.Image, o.DebugImage = c.String("image"), c.String("debug-image")
	if o.Image != "" && o.DebugImage != "" {
		return usagef("", errors.New("--image and --debug-image: give one"))
	}
	if o.Image == "" && o.DebugImage == "" && (o.Plan == nil || o.Plan.NeedsHand()) {
		return usagef("irkit agent push REF makes one; or --debug-image busybox",
			errors.New("no image for the hand beside the target: give --image or --debug-image"))
	}
	o.Pull = corev1.PullPolicy(c.String("pull"))
	if !slices.Contains([]corev1.PullPolicy{corev1.PullIfNotPresent, corev1.PullAlways, corev1.PullNever}, o.Pull) {
		return usagef("", fmt.Errorf("--pull %s: want IfNotPresent, Always or Never", o.Pull))
	}
	o.Transport = debugger.Transport(c.String("transport"))
	if !slices.Contains([]debugger.Transport{debugger.Auto, debugger.WS, debugger.SPDY}, o.Transport) {
		return usagef("", fmt.Errorf("--transport %s: want auto, ws or spdy", o.Transport))
	}
	o.MaxLife = c.Duration("max-life")
	return nil
}

func parseAllow(s string) (evidence.Allow, error) {
	var a evidence.Allow
	prefix, port := s, ""
	for _, proto := range []string{"tcp", "udp"} {
		if rest, ok := strings.CutSuffix(s, "/"+proto); ok {
			prefix, a.Proto = rest, proto
		}
	}
	whole := prefix
	if i := strings.LastIndex(whole, ":"); i > strings.LastIndex(whole, "]") && strings.Count(whole, ":") == 1 || strings.Contains(whole, "]:") {
		prefix, port = whole[:i], whole[i+1:]
	}
	prefix = strings.Trim(prefix, "[]")
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return a, fmt.Errorf("--allow %s: %q is no port", s, port)
		}
		a.Port = uint16(n)
	}
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		addr, addrErr := netip.ParseAddr(prefix)
		if addrErr != nil {
			return a, fmt.Errorf("--allow %s: %q is neither an address nor a CIDR", s, prefix)
		}
		p = netip.PrefixFrom(addr, addr.BitLen())
	}
	a.Prefix = p.Masked()
	return a, nil
}

// engine is what every command that acts is run by. It makes the signing key on first use.
func (d *door) engine(c *cli.Context) (*playbooks.Engine, error) {
	e, err := d.looker(c)
	if err != nil {
		return nil, err
	}
	path, err := d.keyPath(c)
	if err != nil {
		return nil, err
	}
	if e.Signer, err = seal.LoadOrCreateKey(path, e.Actor.Name+"@"+e.Actor.Host); err != nil {
		return nil, err
	}
	e.Actor.Key = seal.Fingerprint(e.Signer.PublicKey())
	return e, nil
}

// looker is an engine that can sign nothing, for commands that write nothing.
func (d *door) looker(c *cli.Context) (*playbooks.Engine, error) {
	conn, err := d.connect(c, c.String("case"))
	if err != nil {
		return nil, err
	}
	home, err := d.home(c)
	if err != nil {
		return nil, err
	}
	return &playbooks.Engine{
		Conn: conn, Cases: playbooks.Cases{Home: home}, Actor: d.actor(),
		Tool:   evidence.Tool{Name: "irkit", Version: version, Commit: commit, SHA256: ownDigest()},
		Binary: embedded.Binary, Now: d.now, Progress: d.say,
	}, nil
}

func (d *door) actor() evidence.Actor {
	a := evidence.Actor{Name: "unknown"}
	if u, err := user.Current(); err == nil {
		a.Name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		a.Host = h
	}
	return a
}

// podArgument is the one pod that is named; empty when a selector stands for it.
func podArgument(c *cli.Context, skipFirst bool) (string, error) {
	args := c.Args().Slice()
	if skipFirst && len(args) > 0 {
		args = args[1:]
	}
	selector := c.String("selector")
	switch {
	case selector != "" && len(args) > 0:
		return "", usagef("", fmt.Errorf("both -l %s and pod %s: give one", selector, args[0]))
	case len(args) > 1:
		return "", usagef("one pod at a time: each is a case of its own", fmt.Errorf("%d pods (%s), want one", len(args), strings.Join(args, ", ")))
	case len(args) == 1:
		return args[0], nil
	case selector != "":
		return "", nil
	}
	return "", usagef("irkit "+c.Command.Name+" POD -n NAMESPACE", errors.New("no pod given"))
}

// resolve looks the target up, by name or by selector.
func (d *door) resolve(c *cli.Context, conn *cluster.Conn, o *playbooks.Order, pod string) (err error) {
	if pod == "" {
		o.Target, o.Pod, err = conn.ResolveSelector(c.Context, c.String("selector"))
	} else {
		o.Target, o.Pod, err = conn.Resolve(c.Context, pod)
	}
	if errors.Is(err, cluster.ErrAmbiguous) || errors.Is(err, cluster.ErrReplaced) {
		return refused(err)
	}
	return err
}

// caseOf is the case that was named, else the pod's open one, else a new one.
func (d *door) caseOf(c *cli.Context, e *playbooks.Engine, t evidence.Target) (string, error) {
	if named := c.String("case"); named != "" {
		return foldCase(named)
	}
	id, open, err := e.Cases.OpenOf(t.UID)
	switch {
	case err != nil:
		return "", err
	case open:
		d.say("case %s is open for this pod: going on with it", id)
		return id, nil
	}
	return playbooks.NewCase(t, d.now()), nil
}

// foldCase reads a case identifier as a person wrote it.
func foldCase(named string) (string, error) {
	id, err := playbooks.FoldCase(named)
	if err != nil {
		return "", usagef("", err)
	}
	return id, nil
}
