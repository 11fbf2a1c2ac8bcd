package report

// Of a long list the first rows are shown, more are folded, and the rest is in its file.
const (
	openRows  = 100
	foldRows  = 500
	mostFolds = 6
)

// pages is a list that stays usable at any length.
type pages struct {
	First []any
	More  []fold
	Rest  int
	Total int
	File  string
}

type fold struct {
	From, To int // from 1
	Rows     []any
}

func paged[T any](rows []T, file string) pages {
	p := pages{Total: len(rows), File: file}
	take := func(n int) (some []any) {
		n = min(n, len(rows))
		for _, r := range rows[:n] {
			some = append(some, r)
		}
		rows = rows[n:]
		return some
	}
	p.First = take(openRows)
	for from := openRows + 1; len(rows) > 0 && len(p.More) < mostFolds; from += foldRows {
		f := fold{From: from, Rows: take(foldRows)}
		f.To = from + len(f.Rows) - 1
		p.More = append(p.More, f)
	}
	p.Rest = len(rows)
	return p
}
