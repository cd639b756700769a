//go:build linux

package layerquota_test

import (
	"os"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/layerquota"
	"github.com/seed-642172e2/aufs/internal/core/quota"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
)

// TestQuotaRaised looks at the limits of layers while they are lifted or raised, and after that.
func TestQuotaRaised(t *testing.T) {
	h := store.Home(storetest.QuotaDir(t))
	const bytes, inodes = 64 << 20, 10_000
	for id, c := range map[string]struct {
		limits, raised quota.Limits
	}{
		"small":       {quota.Limits{Bytes: 1 << 20, Inodes: 100}, quota.Limits{Bytes: bytes, Inodes: inodes}},
		"large":       {quota.Limits{Bytes: 1 << 30, Inodes: 1 << 20}, quota.Limits{}},
		"few inodes":  {quota.Limits{Bytes: 1 << 30, Inodes: 1}, quota.Limits{Inodes: inodes}},
		"few bytes":   {quota.Limits{Bytes: 1 << 20, Inodes: 1 << 20}, quota.Limits{Bytes: bytes}},
		"only inodes": {quota.Limits{Inodes: 1}, quota.Limits{Inodes: inodes}},
		"only bytes":  {quota.Limits{Bytes: 1 << 20}, quota.Limits{Bytes: bytes}},
	} {
		t.Run(id, func(t *testing.T) {
			storetest.Must(t, os.MkdirAll(h.Diff(id), 0o700))
			_, err := layerquota.Limit(h, id, c.limits)
			storetest.Must(t, err)
			q, err := layerquota.Of(h, id)
			storetest.Must(t, err)
			used, err := layerquota.Usage(h, id)
			storetest.Must(t, err)
			want := c.limits
			if c.raised.Bytes > 0 {
				want.Bytes = used.Bytes + c.raised.Bytes
			}
			if c.raised.Inodes > 0 {
				want.Inodes = used.Inodes + c.raised.Inodes
			}
			has := func(what string, want quota.Limits) error {
				if l, err := q.Project.Limits(string(h)); err != nil || l != want {
					t.Errorf("%s: the limits are %+v and not %+v: %v", what, l, want, err)
				}
				return nil
			}
			storetest.Must(t, layerquota.WithReserve(h, id, func() error { return has("raised", want) }))
			_ = has("after they were raised", c.limits)
			storetest.Must(t, layerquota.WithRoom(h, id, func() error { return has("lifted", quota.Limits{}) }))
			_ = has("after they were lifted", c.limits)
			// As if a process had been killed while they were lifted.
			storetest.Must(t, q.Project.SetLimits(string(h), quota.Limits{}))
			storetest.Must(t, layerquota.WithReserve(h, id, func() error { return has("raised after a kill", want) }))
			_ = has("after the kill", c.limits)
		})
	}
}
