package place

// What stands at which address. The lab's addresses exist only inside of its own
// network namespaces; the two Outside ones are loopback listeners on the host.
const (
	NodeName   = "lab-node"
	NodeIP     = "10.200.0.1"
	NodeCIDR   = NodeIP + "/24"
	NodeDevice = "node0" // a bridge: the kernel may lack dummy devices

	// Beside each address stands one of IPv6 (RFC 4193, RFC 3849); pods and Services have
	// them where the network gives both.
	NodeIP6   = "fd00:10:200::1"
	NodeCIDR6 = NodeIP6 + "/64"

	PodCIDR     = "10.244.0.0/16"
	ServiceCIDR = "10.96.0.0/16"
	APIService  = "10.96.0.1"
	DNSService  = "10.96.0.10"

	PodCIDR6     = "fd00:10:244::/56"
	ServiceCIDR6 = "fd00:10:96::/112"

	// WorldIP plays a host on the internet, in a namespace of its own.
	WorldIP         = "203.0.113.66"
	WorldCIDR       = WorldIP + "/24"
	WorldGateway    = "203.0.113.1"
	GatewayCIDR     = WorldGateway + "/24"
	WorldIP6        = "2001:db8:203::66"
	WorldCIDR6      = WorldIP6 + "/64"
	WorldGateway6   = "2001:db8:203::1"
	GatewayCIDR6    = WorldGateway6 + "/64"
	GatewayDevice   = "world0"
	CommandPort     = "4444" // line echo; every line is logged with its time
	KnockPort       = "8443" // every accepted connection is logged with its time
	BystanderPort   = "9999" // on the node, beside the kubelet's own ports
	APIServerInside = "127.0.0.1:6443"
	StoreInside     = "127.0.0.1:7070"

	APIServerOutside = "127.0.0.1:16443"
	StoreOutside     = "127.0.0.1:17070"

	StoreBucket = "evidence"
	StoreRegion = "us-east-1"
	StoreUser   = "irkit-lab"
	StoreSecret = "irkit-lab-only-not-a-secret"

	NodeNamespace  = "irkit-lab"       // network namespaces, as ip-netns(8) names them
	WorldNamespace = "irkit-lab-world" //
	ControlGroup   = "irkit-lab"       // below every cgroup hierarchy
	ImageNamespace = "k8s.io"          // containerd's, as the kubelet uses it
)
