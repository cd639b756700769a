//go:build linux

package imagetest

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/chunked"
	"github.com/containers/storage/pkg/chunked/compressor"
	"github.com/opencontainers/go-digest"
	"github.com/seed-642172e2/aufs/internal/listing"
)

// A blob is the source from which pkg/chunked fetches parts of a layer, like a registry.
type blob struct {
	content []byte
	fetched int
}

func (b *blob) GetBlobAt(chunks []chunked.ImageSourceChunk) (chan io.ReadCloser, chan error, error) {
	parts, errs := make(chan io.ReadCloser), make(chan error)
	go func() {
		defer close(errs)
		defer close(parts)
		for _, c := range chunks {
			b.fetched += int(c.Length)
			parts <- io.NopCloser(bytes.NewReader(b.content[c.Offset : c.Offset+c.Length]))
		}
	}()
	return parts, errs, nil
}

// A file is a member of an archive.
type file struct {
	tar.Header

	content []byte
}

func tarOf(t *testing.T, members ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		m.Size = int64(len(m.content))
		m.ModTime = time.Unix(1_000_000_000, 0)
		must(t, w.WriteHeader(&m.Header))
		_, err := w.Write(m.content)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

// chunkedLayers returns the archives of a layer, and of a layer on top of it. Both have a large file. They have no
// devices and FIFOs, because pkg/chunked leaves those out.
func chunkedLayers(t *testing.T) (lower, upper []byte) {
	t.Helper()
	large := make([]byte, 1<<20)
	_, err := rand.NewChaCha8([32]byte{1}).Read(large)
	must(t, err)
	dir := func(name string) file {
		return file{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}}
	}
	regular := func(name string, content []byte) file {
		return file{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o640, Uid: 7, Gid: 8}, content: content}
	}
	lower = tarOf(t, dir("d/"), regular("d/f", []byte("df")), regular("large", large), regular("gone", []byte("x")), dir("e/"), regular("e/f", nil))
	attributed := regular("attributed", []byte("a"))
	attributed.PAXRecords = map[string]string{archive.PaxSchilyXattr + "user.name": "value"}
	upper = tarOf(t, dir("d/"), regular("d/.wh..wh..opq", nil), regular("d/g", []byte("dg")), regular(".wh.gone", nil), dir("copy/"), regular("copy/large", large),
		file{Header: tar.Header{Name: "copy/link", Typeflag: tar.TypeLink, Linkname: "copy/large"}},
		file{Header: tar.Header{Name: "copy/symlink", Typeflag: tar.TypeSymlink, Linkname: "../e/f", Mode: 0o777}},
		attributed, regular("twin1", []byte("twin")), regular("twin2", []byte("twin")))
	return lower, upper
}

// compressed returns an archive in the format zstd:chunked, and the annotations of that format.
func compressed(t *testing.T, content []byte) (*blob, map[string]string) {
	t.Helper()
	var b bytes.Buffer
	annotations := map[string]string{}
	w, err := compressor.ZstdCompressor(&b, annotations, nil)
	must(t, err)
	_, err = w.Write(content)
	must(t, err)
	must(t, w.Close())
	return &blob{content: b.Bytes()}, annotations
}

// pull puts a layer into the store as containers/image does with enable_partial_images.
func pull(t *testing.T, store storage.Store, id, parent string, b *blob, annotations map[string]string) *storage.Layer {
	t.Helper()
	differ, err := chunked.NewDiffer(t.Context(), store, digest.FromBytes(b.content), int64(len(b.content)), annotations, b)
	must(t, err)
	out, err := store.PrepareStagedLayer(nil, differ)
	must(t, err)
	layer, err := store.ApplyStagedLayer(storage.ApplyStagedLayerOptions{ID: id, ParentLayer: parent, DiffOutput: out})
	must(t, err)
	must(t, differ.Close())
	must(t, store.CleanupStagedLayer(out))
	return layer
}

// shown returns what a mount of a layer shows, without the times of directories and symbolic links: pkg/chunked sets the
// times of directories too early, and those of links not at all.
func shown(t *testing.T, store storage.Store, id string) tree {
	t.Helper()
	root, err := store.Mount(id, "")
	must(t, err)
	tr := readTree(t, root).withoutDirTimes().each(func(e *listing.Entry) {
		if e.Type == 'l' {
			e.Mtime = 0
		}
	})
	_, err = store.Unmount(id, true)
	must(t, err)
	return tr
}

// unpackedAgain returns a layer's archive from Diff.
func unpackedAgain(t *testing.T, store storage.Store, layer *storage.Layer) []byte {
	t.Helper()
	none := archive.Uncompressed
	diff, err := store.Diff("", layer.ID, &storage.DiffOptions{Compression: &none})
	must(t, err)
	content, err := io.ReadAll(diff)
	must(t, err)
	must(t, diff.Close())
	return content
}

// TestChunked puts layers into a store in parts: layers in the format zstd:chunked, and layers that the library converts
// to it. It compares them with layers made from whole archives.
func TestChunked(t *testing.T) {
	lower, upper := chunkedLayers(t)
	forEachBackend(t, func(t *testing.T, backend string) {
		for way, convert := range map[string]bool{"zstd:chunked": false, "converted": true} {
			t.Run(way, func(t *testing.T) {
				root := t.TempDir()
				options := map[string]string{"enable_partial_images": "true", "convert_images": "false"}
				if convert {
					options["convert_images"] = "true"
				}
				store := openPullingStore(t, root, backend, options)
				source := func(content []byte) (*blob, map[string]string) {
					if convert {
						return &blob{content: content}, nil
					}
					return compressed(t, content)
				}
				lowerBlob, annotations := source(lower)
				pulledLower := pull(t, store, "lower", "", lowerBlob, annotations)
				upperBlob, annotations := source(upper)
				pulled := pull(t, store, "upper", "lower", upperBlob, annotations)
				if !convert && upperBlob.fetched > len(upperBlob.content)/2 {
					t.Errorf("of %d bytes %d were fetched, though the most are in a layer that is there", len(upperBlob.content), upperBlob.fetched)
				}
				_, _, err := store.PutLayer("lower-whole", "", nil, "", false, nil, bytes.NewReader(lower))
				must(t, err)
				_, _, err = store.PutLayer("whole", "lower-whole", nil, "", false, nil, bytes.NewReader(upper))
				must(t, err)
				sameTree(t, "the lower layer", shown(t, store, "lower"), shown(t, store, "lower-whole"))
				sameTree(t, "the upper layer", shown(t, store, "upper"), shown(t, store, "whole"))
				for layer, content := range map[*storage.Layer][]byte{pulledLower: lower, pulled: upper} {
					if got := unpackedAgain(t, store, layer); !bytes.Equal(got, content) {
						t.Errorf("the archive of %s, %d bytes, is not what it was made from, %d bytes", layer.ID, len(got), len(content))
					}
				}
				for _, id := range []string{"upper", "whole", "lower", "lower-whole"} {
					must(t, store.DeleteLayer(id))
				}
				empty(t, store)
				noLayers(t, filepath.Join(root, "graph", "aufs"))
			})
		}
	})
}

// TestChunkedFails pulls a layer in which one part does not match its digest.
func TestChunkedFails(t *testing.T) {
	lower, _ := chunkedLayers(t)
	forEachBackend(t, func(t *testing.T, backend string) {
		root := t.TempDir()
		store := openPullingStore(t, root, backend, map[string]string{"enable_partial_images": "true"})
		b, annotations := compressed(t, lower)
		differ, err := chunked.NewDiffer(t.Context(), store, digest.FromBytes(b.content), int64(len(b.content)), maps.Clone(annotations), b)
		must(t, err)
		b.content = slices.Clone(b.content)
		b.content[len(b.content)/3] ^= 1
		if out, err := store.PrepareStagedLayer(nil, differ); err == nil {
			t.Errorf("a wrong chunk is taken: %+v", out)
		}
		must(t, differ.Close())
		empty(t, store)
		noLayers(t, filepath.Join(root, "graph", "aufs"))
	})
}
