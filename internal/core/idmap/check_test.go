package idmap

import (
	"math"
	"strconv"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	good := []Map{{HostID: 100_000, Size: 65536}}
	many := func(n int) (list []Map) {
		for n := range n {
			list = append(list, Map{ContainerID: 2 * n, HostID: 100_000 + 3*n, Size: 1})
		}
		return list
	}
	type check struct {
		uids, gids []Map
		// want is a part of the error, or "".
		want string
	}
	checks := map[string]check{
		"good":              {good, good, ""},
		"one id":            {[]Map{{ContainerID: 5, HostID: 1000, Size: 1}}, good, ""},
		"side by side":      {[]Map{{HostID: 5, Size: 5}, {ContainerID: 5, HostID: 10, Size: 5}, {ContainerID: 10, Size: 5}}, good, ""},
		"no users":          {nil, good, "no users"},
		"no groups":         {good, []Map{}, "no groups"},
		"an empty range":    {good, []Map{{HostID: 1}}, "groups has the empty range 0:1:0"},
		"a negative range":  {[]Map{{HostID: 1, Size: -1}}, good, "users has the empty range"},
		"a negative id":     {[]Map{{HostID: -1, Size: 1}}, good, "not within"},
		"many ids":          {good, []Map{{ContainerID: 1<<31 - 1, Size: 1<<31 - 1}, {HostID: 1<<31 - 1, Size: 1<<31 - 1}}, ""},
		"many, overlapping": {good, []Map{{ContainerID: 1<<31 - 2, Size: 1<<31 - 1}, {HostID: 1<<31 - 1, Size: 1<<31 - 1}}, "overlap"},
		"overlap inside":    {[]Map{{HostID: 100, Size: 10}, {ContainerID: 9, HostID: 200, Size: 10}}, good, "0:100:10 and 9:200:10, which overlap"},
		"overlap outside":   {good, []Map{{HostID: 100, Size: 10}, {ContainerID: 10, HostID: 91, Size: 10}}, "overlap"},
		"many ranges":       {good, many(340), ""},
		"too many ranges":   {good, many(341), "groups has 341 ranges, and the kernel takes at most 340"},
		"no root":           {[]Map{{ContainerID: 1, HostID: 100, Size: 10}}, good, "no id for root"},
	}
	if strconv.IntSize == 64 {
		ids := int64(mostID)
		checks["the last id"] = check{good, []Map{{HostID: 1, Size: int(ids - 1)}}, ""}
		checks["too large"] = check{good, []Map{{HostID: 2, Size: int(ids - 1)}}, "not within"}
		checks["a huge size"] = check{good, []Map{{Size: math.MaxInt, HostID: 1}}, "not within"}
	}
	for name, c := range checks {
		t.Run(name, func(t *testing.T) {
			err := (&Mappings{UIDs: c.uids, GIDs: c.gids}).Check()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestLenient(t *testing.T) {
	list := []Map{{HostID: 100_000, Size: 1000}}
	m := &Mappings{UIDs: list, GIDs: list, Lenient: true}
	for p, want := range map[Pair]Pair{
		{UID: 100_000, GID: 100_999}: {UID: 0, GID: 999}, {UID: 0, GID: 5}: {UID: 0, GID: Overflow}, {UID: 101_000, GID: 0}: {UID: Overflow, GID: 0},
	} {
		if got, err := m.ToContainer(p); got != want || err != nil {
			t.Errorf("%v: %v, %v", p, got, err)
		}
	}
}
