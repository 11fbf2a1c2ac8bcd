package objects

import (
	"bytes"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"irkit.dev/irkit/evidence"
)

// volumes files the claims that the pod mounts, and the volumes behind them.
func (r *run) volumes(pod *corev1.Pod) {
	var claims []string
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.PersistentVolumeClaim != nil:
			claims = append(claims, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			claims = append(claims, pod.Name+"-"+v.Name)
		}
	}
	var behind []string
	for _, c := range r.gets(what{"persistentvolumeclaims", core("persistentvolumeclaims"), true, evidence.Internal, 0}, claims) {
		if name, _, _ := unstructured.NestedString(c.Object, "spec", "volumeName"); name != "" {
			behind = append(behind, name)
		}
	}
	r.gets(what{"persistentvolumes", core("persistentvolumes"), false, evidence.Internal, 0}, behind)
}

// Reference is a secret or configmap that the pod uses, as its specification names it:
// a secret is to be rotated.
type Reference struct {
	Name string   `json:"name"`
	Uses []string `json:"uses"` // env NAME of container X, envFrom of X, volume V, image pull
	Keys []string `json:"keys"` // that the specification names; none: all of them
}

// configuration files what the pod is configured with: configmaps with digests for
// values, secrets by name alone unless they were asked for.
func (r *run) configuration(pod *corev1.Pod) {
	secrets, configMaps := references(pod)
	w := what{"secret-names", core("secrets"), true, evidence.Internal, 0}
	if r.ctx.Err() == nil {
		var b bytes.Buffer
		if err := indented(&b, secrets); err == nil {
			r.add(r.artifact(w, "specification of the pod: names only, nothing was read"), &b)
		}
	}
	names := func(refs []Reference) (names []string) {
		for _, s := range refs {
			names = append(names, s.Name)
		}
		return names
	}
	if r.ReadSecrets {
		r.gets(what{"secrets", core("secrets"), true, evidence.Internal, 0}, names(secrets))
	}
	r.gets(what{"configmaps", core("configmaps"), true, evidence.Internal, 0}, names(configMaps))
}

// references reads the specification of the pod; sorted by name.
func references(pod *corev1.Pod) (secrets, configMaps []Reference) {
	s, c := refs{}, refs{}
	for _, p := range pod.Spec.ImagePullSecrets {
		s.use(p.Name, "image pull", "")
	}
	containers := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
	for _, e := range pod.Spec.EphemeralContainers {
		containers = append(containers, corev1.Container(e.EphemeralContainerCommon))
	}
	for _, k := range containers {
		for _, e := range k.Env {
			if e.ValueFrom == nil {
				continue
			}
			if from := e.ValueFrom.SecretKeyRef; from != nil {
				s.use(from.Name, "env "+e.Name+" of "+k.Name, from.Key)
			}
			if from := e.ValueFrom.ConfigMapKeyRef; from != nil {
				c.use(from.Name, "env "+e.Name+" of "+k.Name, from.Key)
			}
		}
		for _, e := range k.EnvFrom {
			if e.SecretRef != nil {
				s.use(e.SecretRef.Name, "envFrom of "+k.Name, "")
			}
			if e.ConfigMapRef != nil {
				c.use(e.ConfigMapRef.Name, "envFrom of "+k.Name, "")
			}
		}
	}
	for _, v := range pod.Spec.Volumes {
		volume(v, s, c)
	}
	return s.sorted(), c.sorted()
}

func volume(v corev1.Volume, s, c refs) {
	use := "volume " + v.Name
	switch {
	case v.Secret != nil:
		s.items(v.Secret.SecretName, use, v.Secret.Items)
	case v.ConfigMap != nil:
		c.items(v.ConfigMap.Name, use, v.ConfigMap.Items)
	case v.Projected != nil:
		for _, p := range v.Projected.Sources {
			if p.Secret != nil {
				s.items(p.Secret.Name, use, p.Secret.Items)
			}
			if p.ConfigMap != nil {
				c.items(p.ConfigMap.Name, use, p.ConfigMap.Items)
			}
		}
	case v.CSI != nil && v.CSI.NodePublishSecretRef != nil:
		s.use(v.CSI.NodePublishSecretRef.Name, use, "")
	case v.FlexVolume != nil && v.FlexVolume.SecretRef != nil:
		s.use(v.FlexVolume.SecretRef.Name, use, "")
	case v.CephFS != nil && v.CephFS.SecretRef != nil:
		s.use(v.CephFS.SecretRef.Name, use, "")
	case v.RBD != nil && v.RBD.SecretRef != nil:
		s.use(v.RBD.SecretRef.Name, use, "")
	case v.ISCSI != nil && v.ISCSI.SecretRef != nil:
		s.use(v.ISCSI.SecretRef.Name, use, "")
	case v.AzureFile != nil:
		s.use(v.AzureFile.SecretName, use, "")
	case v.ScaleIO != nil && v.ScaleIO.SecretRef != nil:
		s.use(v.ScaleIO.SecretRef.Name, use, "")
	case v.StorageOS != nil && v.StorageOS.SecretRef != nil:
		s.use(v.StorageOS.SecretRef.Name, use, "")
	}
}

// refs collects references by name.
type refs map[string]*Reference

func (r refs) use(name, use, key string) {
	if name == "" {
		return
	}
	ref := r[name]
	if ref == nil {
		ref = &Reference{Name: name, Uses: []string{}, Keys: []string{}}
		r[name] = ref
	}
	if !slices.Contains(ref.Uses, use) {
		ref.Uses = append(ref.Uses, use)
	}
	if key != "" && !slices.Contains(ref.Keys, key) {
		ref.Keys = append(ref.Keys, key)
	}
}

func (r refs) items(name, use string, items []corev1.KeyToPath) {
	r.use(name, use, "")
	for _, i := range items {
		r.use(name, use, i.Key)
	}
}

func (r refs) sorted() []Reference {
	all := []Reference{}
	for _, name := range slices.Sorted(maps.Keys(r)) {
		all = append(all, *r[name])
	}
	return all
}
