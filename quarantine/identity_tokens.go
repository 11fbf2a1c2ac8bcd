package quarantine

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// tokensOf are the tokens that the pod's volumes hold. What admission makes of automount
// is such a volume too, so that nothing needs to be guessed. A mounted secret is known as a
// legacy token by the account's own list, or where secrets could be listed.
func tokensOf(spec *corev1.PodSpec, legacy []LegacyToken, sa *corev1.ServiceAccount) []Token {
	out := []Token{}
	old := func(name string) bool {
		return slices.ContainsFunc(legacy, func(l LegacyToken) bool { return l.Name == name }) ||
			sa != nil && slices.ContainsFunc(sa.Secrets, func(r corev1.ObjectReference) bool { return r.Name == name })
	}
	for _, v := range spec.Volumes {
		switch {
		case v.Projected != nil:
			for _, src := range v.Projected.Sources {
				if t := src.ServiceAccountToken; t != nil {
					one := Token{Volume: v.Name, Audience: t.Audience, Seconds: 3600, Mounted: mounted(spec, v.Name)} // core/v1 defaults.go
					if t.ExpirationSeconds != nil {
						one.Seconds = *t.ExpirationSeconds
					}
					out = append(out, one)
				}
			}
		case v.Secret != nil && old(v.Secret.SecretName):
			out = append(out, Token{Volume: v.Name, Secret: v.Secret.SecretName, Mounted: mounted(spec, v.Name)})
		}
	}
	return out
}

func mounted(spec *corev1.PodSpec, volume string) bool {
	for _, c := range allContainers(spec) {
		if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == volume }) {
			return true
		}
	}
	return false
}

// secretsUsed are the names of secrets that a pod mounts, refers to or is pulled with.
func secretsUsed(spec *corev1.PodSpec) []string {
	out := []string{}
	add := func(name string) {
		if name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for _, v := range spec.Volumes {
		switch {
		case v.Secret != nil:
			add(v.Secret.SecretName)
		case v.CSI != nil && v.CSI.NodePublishSecretRef != nil:
			add(v.CSI.NodePublishSecretRef.Name)
		case v.Projected != nil:
			for _, src := range v.Projected.Sources {
				if src.Secret != nil {
					add(src.Secret.Name)
				}
			}
		}
	}
	for _, c := range allContainers(spec) {
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				add(e.ValueFrom.SecretKeyRef.Name)
			}
		}
		for _, e := range c.EnvFrom {
			if e.SecretRef != nil {
				add(e.SecretRef.Name)
			}
		}
	}
	for _, p := range spec.ImagePullSecrets {
		add(p.Name)
	}
	slices.Sort(out)
	return out
}

// cloudOf reads what the clouds' own controllers read: annotations of the account
// (EKS pod identity webhook, GKE workload identity, Azure workload identity), and tokens
// with a cloud's audience.
func cloudOf(sa *corev1.ServiceAccount, tokens []Token) []CloudIdentity {
	var out []CloudIdentity
	for _, k := range []struct{ provider, annotation string }{
		{"aws-irsa", "eks.amazonaws.com/role-arn"},
		{"gcp", "iam.gke.io/gcp-service-account"},
		{"azure", "azure.workload.identity/client-id"},
	} {
		if sa == nil {
			break
		}
		if v := sa.Annotations[k.annotation]; v != "" {
			out = append(out, CloudIdentity{Provider: k.provider, Principal: v, Source: "annotation " + k.annotation})
		}
	}
	for _, t := range tokens {
		provider := map[string]string{"sts.amazonaws.com": "aws-irsa", "pods.eks.amazonaws.com": "aws-pod-identity", "api://AzureADTokenExchange": "azure"}[t.Audience]
		if strings.HasSuffix(t.Audience, ".svc.id.goog") {
			provider = "gcp"
		}
		if provider != "" && !slices.ContainsFunc(out, func(c CloudIdentity) bool { return c.Provider == provider }) {
			out = append(out, CloudIdentity{Provider: provider, Source: "volume " + t.Volume})
		}
	}
	return out
}

// accountOf is the pod's service account; the API server fills in default.
func accountOf(spec *corev1.PodSpec) string {
	if spec.ServiceAccountName == "" {
		return "default"
	}
	return spec.ServiceAccountName
}
