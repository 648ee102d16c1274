package filediff

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

func (c *comparison) gzip(path []string, a, b blob) (found bool, err error) {
	was, err := c.gzipHeader(a)
	if err != nil {
		return false, c.unreadable(err)
	}
	is, err := c.gzipHeader(b)
	if err != nil {
		return false, c.unreadable(err)
	}
	had := c.total()
	c.fields(path, was, is)
	insideDiffers, err := c.compare(append(path[:len(path):len(path)], unpacked), c.inGzip(a), c.inGzip(b))
	found = c.total() > had
	if err != nil {
		return found, c.unreadable(err)
	}
	if !insideDiffers && !found {
		same, err := c.equal(a, b)
		if err != nil || same {
			return false, err
		}
		c.add(path, Finding{Kind: Compression})
		found = true
	}
	return found, nil
}

// unpacked is the only member of what is compressed.
const unpacked = "(unpacked)"

// equal says whether two blobs have the same bytes.
func (c *comparison) equal(a, b blob) (same bool, err error) {
	x, err := c.reader(a)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	y, err := c.reader(b)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, y.Close()) }()
	p, err := readPair(x, y, false)
	return err == nil && p.same(), err
}

func (c *comparison) gzipHeader(b blob) (_ []field, err error) {
	r, err := c.reader(b)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	return []field{
		{"time", timeOf(z.ModTime)},
		{"name", z.Name},
		{"comment", z.Comment},
		{"system", fmt.Sprint(z.OS)},
		{extraField, fmt.Sprintf("%x", z.Extra[:min(len(z.Extra), maxText)])},
	}, nil
}

func (c *comparison) inGzip(of blob) blob {
	return blob{member: true, open: func() (io.ReadCloser, error) {
		r, err := c.reader(of)
		if err != nil {
			return nil, err
		}
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		return within{z, r}, nil
	}}
}
