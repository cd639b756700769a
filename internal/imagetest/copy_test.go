//go:build linux

package imagetest

import (
	"os"
	"testing"

	"github.com/containers/image/v5/copy"
	ocilayout "github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/signature"
	imagestorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
)

// copyImage copies an image as skopeo does. If the digests of the copy would differ, it fails.
func copyImage(t *testing.T, dest, src types.ImageReference) {
	t.Helper()
	// The host may have no policy.
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	must(t, err)
	sys := systemContext(t)
	_, err = copy.Image(t.Context(), policy, dest, src, &copy.Options{
		SourceCtx: sys, DestinationCtx: sys, PreserveDigests: true,
	})
	must(t, err)
	must(t, policy.Destroy())
}

// systemContext returns a context in which the library uses no files of the host.
func systemContext(t *testing.T) *types.SystemContext {
	t.Helper()
	dir := t.TempDir()
	return &types.SystemContext{
		BigFilesTemporaryDir:        dir,
		BlobInfoCacheDir:            dir,
		RegistriesDirPath:           dir,
		SystemRegistriesConfPath:    os.DevNull,
		SystemRegistriesConfDirPath: dir,
		// Otherwise the library compresses what it copies to a layout.
		OCIAcceptUncompressedLayers: true,
	}
}

// inLayout returns a reference to the image of a layout. The layout need not exist.
func inLayout(t *testing.T, dir string) types.ImageReference {
	t.Helper()
	ref, err := ocilayout.NewReference(dir, "")
	must(t, err)
	return ref
}

// inStore returns a reference to the image with the given name in a store. The
// image need not exist.
func inStore(t *testing.T, store storage.Store, name string) types.ImageReference {
	t.Helper()
	ref, err := imagestorage.Transport.ParseStoreReference(store, name)
	must(t, err)
	return ref
}
