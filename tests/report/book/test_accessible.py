"""Names for screen readers in the built pages."""

from msff.report.book.accessible import name_for_screen_readers


def test_arrows_of_the_side_bar_get_a_name_and_the_rest_of_a_page_stays(tmp_path):
    page = tmp_path / "book" / "page.html"
    page.parent.mkdir()
    arrow = '<details><summary><span class="toctree-toggle" role="presentation"></span></summary></details>'
    page.write_text(f'<p>ä</p>{arrow}<summary>Shown</summary><div role="list" class="citation-list">', encoding="utf-8")
    name_for_screen_readers(tmp_path)
    named = arrow.replace("<summary>", '<summary aria-label="Pages below">')
    assert page.read_text(encoding="utf-8") == (f'<p>ä</p>{named}<summary>Shown</summary><div class="citation-list">')
