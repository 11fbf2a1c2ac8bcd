// Command apply puts manifests into the cluster of a kubeconfig, where there is no
// kubectl: for the demonstration and the end-to-end suite.
//
//	apply [-kubeconfig FILE] [-ready NAMESPACE/POD] FILE...
//	apply [-kubeconfig FILE] -where
//	apply [-kubeconfig FILE] -delete NAMESPACE
//
// FILE may be - for stdin. Applying twice is harmless; deleting what is not there too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	kubeconfig := flag.String("kubeconfig", os.Getenv("KUBECONFIG"), "which cluster; empty: as kubectl would")
	ready := flag.String("ready", "", "NAMESPACE/POD to wait for, three minutes at most")
	where := flag.Bool("where", false, "print context and address, and stop")
	remove := flag.String("delete", "", "a namespace to delete")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *kubeconfig, *ready, *remove, *where, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "apply:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, ready, remove string, where bool, files []string) error {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil)
	config, err := loader.ClientConfig()
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	if where {
		raw, err := loader.RawConfig()
		if err != nil {
			return fmt.Errorf("read kubeconfig: %w", err)
		}
		fmt.Printf("context %q at %s\n", raw.CurrentContext, config.Host)
		return nil
	}
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if remove != "" {
		err := typed.CoreV1().Namespaces().Delete(ctx, remove, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete namespace %s: %w", remove, err)
		}
		return nil
	}
	untyped, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(typed.Discovery()))
	for _, file := range files {
		if err := applyFile(ctx, untyped, mapper, file); err != nil {
			return fmt.Errorf("apply %s: %w", file, err)
		}
	}
	if ready == "" {
		return nil
	}
	return await(ctx, typed, ready)
}

func applyFile(ctx context.Context, c dynamic.Interface, mapper *restmapper.DeferredDiscoveryRESTMapper, file string) error {
	in := os.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	for documents := yaml.NewYAMLOrJSONDecoder(in, 4096); ; {
		var object unstructured.Unstructured
		if err := documents.Decode(&object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if len(object.Object) == 0 {
			continue // only comments
		}
		if err := applyObject(ctx, c, mapper, &object); err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
}

func applyObject(ctx context.Context, c dynamic.Interface, mapper *restmapper.DeferredDiscoveryRESTMapper, object *unstructured.Unstructured) error {
	kind := object.GroupVersionKind()
	mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	_, err = c.Resource(mapping.Resource).Namespace(object.GetNamespace()).
		Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: "irkit-demo", Force: true})
	return err
}

func await(ctx context.Context, c kubernetes.Interface, pod string) error {
	namespace, name, ok := strings.Cut(pod, "/")
	if !ok {
		return fmt.Errorf("pod %q: want NAMESPACE/POD", pod)
	}
	state := "not there"
	err := wait.PollUntilContextTimeout(ctx, 500*time.Millisecond, 3*time.Minute, true, func(ctx context.Context) (bool, error) {
		p, err := c.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			state = err.Error()
			return false, nil //nolint:nilerr // it is asked again until the time is up
		}
		state = string(p.Status.Phase)
		for _, condition := range p.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("wait for pod %s to be ready: %s: %w", pod, state, err)
	}
	return nil
}
