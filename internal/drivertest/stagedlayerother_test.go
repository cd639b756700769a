//go:build linux

package drivertest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
)

// TestStagedLayerForAnotherLayer commits to layers other than an empty layer on top of the parent for which the archive was staged: the owners
// in the layer were changed, the layer was made from a template, or it has files.
func TestStagedLayerForAnotherLayer(t *testing.T) {
	nobody := idMaps(idmap.Map{HostID: 1000, Size: 1 << 16})
	archives := map[string][]byte{
		"several":   archiveBytes(t, newLayer...),
		"implied":   archiveBytes(t, entry{Name: "d/f", Content: "implied"}, entry{Name: "e/.wh.f"}, entry{Name: "x/f", Content: "f"}),
		"nothing":   archiveBytes(t),
		"whiteouts": archiveBytes(t, entry{Name: "d/.wh..wh..opq"}, entry{Name: ".wh.x"}, entry{Name: "x", Content: "f"}),
	}
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		threeLayers(t, s)
		s.create(t, "", "empty")
		s.create(t, "middle", "template")
		s.change(t, "template", func(dir string) {
			write(t, dir, files{"d/of the template": "f"})
			must(t, os.Chmod(dir, 0o711))
		})
		for what, content := range archives {
			same := func(how, parent, below string, mappings *idmap.Mappings, prepare func(id string)) {
				t.Run(how+"/"+what, func(t *testing.T) {
					options := driver.ApplyOptions{Mappings: mappings}
					for _, id := range []string{"staged", "applied"} {
						must(t, s.Create(id, below, &driver.CreateOptions{IDMappings: mappings}))
						prepare(id)
					}
					options.Diff = bytes.NewReader(content)
					_, err := s.ApplyDiff("applied", below, options)
					options.Diff = bytes.NewReader(content)
					_, serr := s.applyStagedLayer("staged", parent, options)
					must(t, errors.Join(err, serr))
					sameTree(t, s.see(t, "staged"), s.see(t, "applied"))
					must(t, errors.Join(s.Remove("staged"), s.Remove("applied")))
				})
			}
			mapped := func(id string) { must(t, s.UpdateLayerIDMap(id, nil, nobody, "")) }
			same("owners of nothing", "empty", "empty", nobody, mapped)
			same("owners", "middle", "middle", nobody, mapped)
			same("template", "middle", "template", nil, func(string) {})
			same("files", "middle", "middle", nil, func(id string) {
				s.change(t, id, func(dir string) {
					write(t, dir, files{"precious": "data", "d/h": "data"})
					for _, name := range []string{"precious", "d/h"} {
						must(t, os.Chtimes(filepath.Join(dir, name), time.Unix(1, 0), time.Unix(1, 0)))
					}
				})
			})
		}
		noLeftovers(t, s)
	})
}

// TestStagedLayerForAMountedLayer commits to a layer that somebody has mounted.
func TestStagedLayerForAMountedLayer(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		target, _, err := s.StageLayer("base", driver.ApplyOptions{Diff: archiveOf(t, entry{Name: "g", Content: "g"})})
		must(t, err)
		dir := s.get(t, "child")
		must(t, s.CommitLayer("child", target))
		sameNames(t, readTree(t, dir).Names(), "g")
		must(t, s.Put("child"))
		sameNames(t, s.see(t, "child").Names(), "g")
		noLeftovers(t, s)
	})
}
