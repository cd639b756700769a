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

// copyImage copies an image as skopeo does. The copy has the same digests, or it
// fails.
func copyImage(t *testing.T, dest, src types.ImageReference) {
	t.Helper()
	// Not the host's policy, which need not be there.
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

// systemContext has the library read and write nothing of the host's.
func systemContext(t *testing.T) *types.SystemContext {
	t.Helper()
	dir := t.TempDir()
	return &types.SystemContext{
		BigFilesTemporaryDir:        dir,
		BlobInfoCacheDir:            dir,
		RegistriesDirPath:           dir,
		SystemRegistriesConfPath:    os.DevNull,
		SystemRegistriesConfDirPath: dir,
		// Else it compresses what it copies to a layout.
		OCIAcceptUncompressedLayers: true,
	}
}

// inLayout is the image of a layout, which need not be there yet.
func inLayout(t *testing.T, dir string) types.ImageReference {
	t.Helper()
	ref, err := ocilayout.NewReference(dir, "")
	must(t, err)
	return ref
}

// inStore is the image with a name in a store, which need not be there yet.
func inStore(t *testing.T, store storage.Store, name string) types.ImageReference {
	t.Helper()
	ref, err := imagestorage.Transport.ParseStoreReference(store, name)
	must(t, err)
	return ref
}
