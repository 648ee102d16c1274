package treediff

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/filediff"
)

// sameBytes says whether two files have equal bytes, as far as that can be known. Content
// is a sum of the bytes and of the header, so sums of different headers say nothing; but
// where one file can be read, its bytes can be summed under the header of the other.
func sameBytes(ctx context.Context, a, b Tree, was, is *contenthash.Entry) (equal, known bool, err error) {
	if was.Size != is.Size {
		return false, true, nil
	}
	if was.Size == 0 {
		return true, true, nil
	}
	none := contenthash.Sum{}
	if was.Content != none && is.Content != none && sumsTell(was, is) {
		return was.Content == is.Content, true, nil
	}
	old, canOld := a.(Opener)
	new, canNew := b.(Opener)
	switch {
	case canNew && was.Content != none:
		sum, err := sumUnder(ctx, new, was)
		return sum == was.Content, true, err
	case canOld && is.Content != none:
		sum, err := sumUnder(ctx, old, is)
		return sum == is.Content, true, err
	case canOld && canNew:
		equal, err := filediff.Equal(ctx, fileOf(ctx, old), fileOf(ctx, new))
		return equal, true, err
	}
	return false, false, nil
}

// sumsTell says whether Content is of the same header.
func sumsTell(was, is *contenthash.Entry) bool {
	return len(headerChanges(untimed(was), untimed(is))) == 0
}

// untimed is an entry without its time, which is no part of Content.
func untimed(e *contenthash.Entry) *contenthash.Entry {
	u := *e
	u.ModTime = time.Time{}
	return &u
}

func sumUnder(ctx context.Context, o Opener, header *contenthash.Entry) (_ contenthash.Sum, err error) {
	f, err := o.Open(ctx)
	if err != nil {
		return contenthash.Sum{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, sum, err := header.SumContent(ctx, f)
	return sum, err
}

func fileOf(ctx context.Context, o Opener) filediff.File {
	return filediff.File{Open: func() (io.ReadCloser, error) { return o.Open(ctx) }}
}
