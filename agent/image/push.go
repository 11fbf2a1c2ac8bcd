package image

import (
	"context"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// PushOptions say how a registry is reached.
type PushOptions struct {
	Transport http.RoundTripper // remote.DefaultTransport when nil
	Insecure  bool              // plain HTTP
	Keychain  authn.Keychain    // the local docker configuration when nil
}

// Push brings the image to a registry and answers the reference by digest, which is
// what a cluster should be told: a tag can be moved. Pushing again is harmless.
func Push(ctx context.Context, ref string, index v1.ImageIndex, o PushOptions) (string, error) {
	var opts []name.Option
	if o.Insecure {
		opts = append(opts, name.Insecure)
	}
	tag, err := name.ParseReference(ref, opts...)
	if err != nil {
		return "", fmt.Errorf("push agent image to %q: %w", ref, err)
	}
	if o.Transport == nil {
		o.Transport = remote.DefaultTransport
	}
	if o.Keychain == nil {
		o.Keychain = authn.DefaultKeychain
	}
	digest, err := index.Digest()
	if err != nil {
		return "", fmt.Errorf("push agent image to %s: %w", ref, err)
	}
	err = remote.WriteIndex(tag, index, remote.WithContext(ctx), remote.WithTransport(o.Transport), remote.WithAuthFromKeychain(o.Keychain),
		remote.WithUserAgent("irkit"))
	if err != nil {
		return "", fmt.Errorf("push agent image to %s: %w", ref, err)
	}
	return tag.Context().Digest(digest.String()).Name(), nil
}

func emptyIndex() v1.ImageIndex { return mutate.IndexMediaType(empty.Index, types.OCIImageIndex) }
