package cluster

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Limits on our own requests. client-go's default of 5 a second would make a
// responder wait; 50 leaves the API server's own fairness to do its work.
const (
	requestsPerSecond = 50
	requestBurst      = 100
)

// Options say which cluster, as whom, and for which case.
type Options struct {
	Kubeconfig string // empty: $KUBECONFIG, ~/.kube/config, then the pod's own account
	Context    string // empty: the current one
	Namespace  string // empty: the context's, else "default"
	As         string
	AsGroups   []string
	Case       string
	Op         string // of this run; made when empty
	Version    string
	Warn       func(text string) // the API server's warnings; nil: dropped
	Notice     func(text string) // what a person who waits should know of the connection; nil: dropped
}

// Conn is a connection. Safe for concurrent use. Its exported fields are not written
// after Connect. A test builds one from fake clients; then only what goes through
// the transport (audit IDs, clock) is missing.
type Conn struct {
	Client    kubernetes.Interface
	Dynamic   dynamic.Interface
	Metadata  metadata.Interface // of objects whose content is not to be read
	Config    *rest.Config
	Context   string
	Cluster   string // URL of the API server
	Namespace string // where a name without namespace is looked up
	Op        string // the op in the user agent

	clock *clock
	sent  *ledger
}

// Connect reads the kubeconfig and makes the clients. It sends nothing: that the
// server can be reached, and knows us, shows at the first request.
func Connect(o Options) (*Conn, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	over := &clientcmd.ConfigOverrides{CurrentContext: o.Context}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, over)
	cfg, err := loader.ClientConfig()
	if err != nil {
		return nil, configError(o, err)
	}
	c := &Conn{Context: o.Context, Namespace: o.Namespace, Op: o.Op, clock: &clock{}, sent: &ledger{}}
	if c.Op == "" {
		c.Op = string(uuid.NewUUID())
	}
	if raw, err := loader.RawConfig(); err == nil && c.Context == "" {
		c.Context = raw.CurrentContext
	}
	if c.Namespace == "" {
		if c.Namespace, _, err = loader.Namespace(); err != nil {
			return nil, configError(o, err)
		}
	}
	c.Config = prepare(cfg, o, c.Op, c.clock, c.sent)
	c.Cluster = c.Config.Host
	if c.Client, err = kubernetes.NewForConfig(c.Config); err != nil {
		return nil, fmt.Errorf("make client for %s: %w", c.Cluster, err)
	}
	if c.Dynamic, err = dynamic.NewForConfig(c.Config); err != nil {
		return nil, fmt.Errorf("make dynamic client for %s: %w", c.Cluster, err)
	}
	if c.Metadata, err = metadata.NewForConfig(c.Config); err != nil {
		return nil, fmt.Errorf("make metadata client for %s: %w", c.Cluster, err)
	}
	return c, nil
}

func prepare(cfg *rest.Config, o Options, op string, ck *clock, sent *ledger) *rest.Config {
	cfg.QPS, cfg.Burst = requestsPerSecond, requestBurst
	cfg.UserAgent = UserAgent(o.Version, o.Case, op)
	if o.As != "" || len(o.AsGroups) > 0 {
		cfg.Impersonate = rest.ImpersonationConfig{UserName: o.As, Groups: o.AsGroups}
	}
	warn := o.Warn
	if warn == nil {
		warn = func(string) {}
	}
	cfg.WarningHandler = warnings(warn)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return &auditor{next: next, clock: ck, sent: sent} })
	// Around the auditor, so that each try has an ID of its own.
	cfg.Wrap(steadying(o.Notice))
	return cfg
}

// UserAgent is how irkit names itself to the API server: the program, then case and
// run. The part before the slash is also the default field manager.
func UserAgent(version, caseID, op string) string {
	if version == "" {
		version = "dev"
	}
	return fmt.Sprintf("irkit/%s (case=%s; op=%s)", token(version), token(caseID), token(op))
}

// token keeps a header's value to one line of harmless characters.
func token(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-._+", r):
			return r
		}
		return '_'
	}, s)
}

type warnings func(string)

// HandleWarningHeader implements rest.WarningHandler (RFC 7234, section 5.5: code 299).
func (w warnings) HandleWarningHeader(code int, _, text string) {
	if code == 299 && text != "" {
		w(text)
	}
}

func configError(o Options, err error) error {
	where := "kubeconfig"
	if o.Kubeconfig != "" {
		where += " " + o.Kubeconfig
	}
	var pe *os.PathError
	switch {
	case errors.As(err, &pe) || os.IsNotExist(err):
		return hinted(fmt.Errorf("read %s: %w", where, oneLine(err)), "give --kubeconfig, or set KUBECONFIG")
	case clientcmd.IsContextNotFound(err):
		return hinted(fmt.Errorf("use context %q of %s: no such context", o.Context, where),
			"list the contexts with: kubectl config get-contexts")
	case clientcmd.IsEmptyConfig(err) || clientcmd.IsConfigurationInvalid(err):
		return hinted(fmt.Errorf("connect to a cluster: no usable context in %s: %w", where, oneLine(err)),
			"give --kubeconfig and --context, or set KUBECONFIG")
	}
	return hinted(fmt.Errorf("read %s: %w", where, oneLine(err)), "give --kubeconfig and --context")
}
