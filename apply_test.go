//go:build linux

package aufs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
)

// TestApplyKeepsWhatIsWrittenMeanwhile is about who has the path of a layer without parents, which Get gave before, and writes there
// while an archive is read: the archive does not take the place of the file.
func TestApplyKeepsWhatIsWrittenMeanwhile(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backendName) {
		s := newStore(t, name)
		s.create(t, "", "base")
		dir := s.get(t, "base")
		must(t, s.Put("base"))
		written := filepath.Join(dir, "written")
		archive := &spy{bytes.NewReader(archiveBytes(t, entry{name: "f", content: "f"})), func() {
			must(t, os.WriteFile(written, []byte("mine"), 0o600))
		}}
		_, err := applyTo(s, "base", "", graphdriver.ApplyDiffOpts{Diff: archive})
		wants(t, err, nil, "base", "somebody has written to the layer")
		content, err := os.ReadFile(written)
		if err != nil || string(content) != "mine" {
			t.Errorf("the file has %q, %v", content, err)
		}
		sameNames(t, readTree(t, dir).names(), "written")
	})
}
