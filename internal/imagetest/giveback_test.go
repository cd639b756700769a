//go:build linux

package imagetest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"testing"

	"github.com/containers/storage"
)

// drawArchive draws a random archive. Its few names come in any order and as any type, and its
// whiteouts have content.
func drawArchive(t *testing.T, r *rand.Rand) []byte {
	t.Helper()
	name := func() string {
		name := ""
		for range 1 + r.IntN(3) {
			name = path.Join(name, string(rune('a'+r.IntN(3))))
		}
		dir, base := path.Split(name)
		return dir + []string{".wh.", ".wh..wh.", "", "", "", "", ""}[r.IntN(7)] + base
	}
	names := []string{"a", "b/a"}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range 4 + r.IntN(8) {
		content, earlier := "", names[r.IntN(len(names))]
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name(), Mode: 0o755}
		switch kind := r.IntN(8); {
		case i < len(names) || kind < 2:
			h.Typeflag = tar.TypeDir
		case kind == 2:
			h.Typeflag, h.Linkname = tar.TypeSymlink, "/"+earlier
		case kind == 3:
			h.Typeflag, h.Linkname = tar.TypeLink, earlier
		default:
			content = fmt.Sprintf("content %d", i)
		}
		if i < 2 {
			h.Name = names[i]
		}
		names = append(names, h.Name)
		h.Size = int64(len(content))
		must(t, w.WriteHeader(h))
		_, err := io.WriteString(w, content)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

// TestArchivesAreGivenBack has the storage library store archives, return them byte for byte, and
// find nothing wrong with them.
func TestArchivesAreGivenBack(t *testing.T) {
	forEachBackend(t, func(t *testing.T, backend string) {
		store := openStore(t, t.TempDir(), backend)
		taken := 0
		for seed := range uint64(300) {
			content := drawArchive(t, rand.New(rand.NewPCG(seed, 2)))
			layer, _, err := store.PutLayer("", "", nil, "", false, nil, bytes.NewReader(content))
			if err != nil {
				continue
			}
			taken++
			if got := archiveOf(t, store, layer.ID); !bytes.Equal(got, content) {
				t.Fatalf("seed %d: the archive is another one", seed)
			}
			if taken%10 == 0 {
				report, err := store.Check(storage.CheckMost())
				must(t, err)
				if len(report.Layers) > 0 {
					t.Fatalf("seed %d: the library says of the layers: %v", seed, report.Layers)
				}
				must(t, store.Wipe())
			}
		}
		if taken < 50 {
			t.Errorf("%d archives were taken", taken)
		}
		_, err := store.Shutdown(true)
		must(t, err)
		store.Free()
	})
}
