-- Makes every table fit the page: the largest type at which its columns fit, or else widths at which its words do.

local format = FORMAT:match 'html' and 'html' or FORMAT
local GAP = 2.5  -- letters between two columns
local WORD, PART = 14, 6  -- letters that a word gets before it is hyphenated: at best, and where it is tight
local LONG_TABLE = 40  -- lines; a shorter table stays on one page
local TEXT_WIDTH, LETTER = 453, {typst = 0.48, latex = 0.53, docx = 0.56}  -- points; an average letter in ems
local raw = pandoc.RawBlock

local function rows_of(tbl)
  local rows = pandoc.List(tbl.head.rows):clone()
  for _, body in ipairs(tbl.bodies) do rows:extend(body.body) end
  return rows
end

local function letters(text) return utf8.len(text) or #text end

local function lengths(cell, weight, limit)  -- of the text and of its longest word, in average letters
  cell.contents:walk {Code = function() weight = 1.2 end}  -- typewriter type is wide
  local text = pandoc.utils.stringify(cell.contents)
  text = text:gsub('[\xE3-\xED][\x80-\xBF][\x80-\xBF]', ' xx ')  -- Chinese is wide and breaks anywhere
  if format ~= 'docx' then text = text:gsub('[/_=]+%f[%w]', '%0 ') end  -- shape.lua lets names break at joints
  local longest = 0
  for word in text:gmatch '%S+' do
    local number = word:find '\u{a0}' or word:find '^%p*%d'  -- never broken
    longest = math.max(longest, number and letters(word) or math.min(letters(word), limit))
  end
  return weight * letters(text), weight * longest
end

local function keep_numbers_whole(tbl)
  for column, spec in ipairs(tbl.colspecs) do
    for _, row in ipairs(spec[1] == 'AlignRight' and tbl.bodies[1].body or {}) do
      local cell = row.cells[column]
      cell.contents = cell.contents:walk {Space = function() return pandoc.Str '\u{a0}' end}
    end
  end
end

local function measure(tbl, limit)  -- characters that each column needs: on one line, and with a word a line
  local whole, word = {}, {}
  for column = 1, #tbl.colspecs do
    whole[column], word[column] = GAP, GAP
    for i, row in ipairs(rows_of(tbl)) do
      local length, longest = lengths(row.cells[column], i <= #tbl.head.rows and 1.2 or 1, limit)  -- bold
      whole[column] = math.max(whole[column], length + GAP)
      word[column] = math.max(word[column], longest + GAP)
    end
  end
  return whole, word
end

local function sum(values)
  local total = 0
  for _, value in ipairs(values) do total = total + value end
  return total
end

local function room(size) return TEXT_WIDTH / (LETTER[format] * size) end

local function largest(needed, sizes)  -- of type, in points
  for _, size in ipairs(sizes) do
    if needed <= room(size) then return size end
  end
end

local function refuse(tbl)
  local first = pandoc.utils.stringify(rows_of(tbl)[1].cells[1].contents)
  local sentence = "The table of %d columns that begins with '%s' is too wide for a page: split it."
  error(sentence:format(#tbl.colspecs, first), 0)
end

local function fit(tbl)  -- the size of type, and the letters that each column gets
  local whole, word = measure(tbl, WORD)
  local natural = largest(sum(whole), {9.5, 8})
  local size = natural or largest(0.75 * sum(word) + 0.25 * sum(whole), {9.5, 8, 7}) or largest(sum(word), {7, 6})
  if not size then
    _, word = measure(tbl, PART)
    size = largest(sum(word), {6}) or refuse(tbl)
  end
  local spare = math.max(room(size) - sum(word), 0) / math.max(sum(whole) - sum(word), 1)
  local columns = {}
  for i = 1, #whole do columns[i] = word[i] + math.min(spare, 1) * (whole[i] - word[i]) end
  if not natural or format == 'docx' then  -- programs disagree on what Word's automatic widths are
    local line = math.max(sum(columns), natural and room(size) or 0)
    tbl.colspecs = tbl.colspecs:map(function(spec, i) return {spec[1], columns[i] / line} end)
  end
  return size, columns
end

local function lines(tbl, columns)  -- of type, with the head and all that wraps
  local total = 0
  for _, row in ipairs(rows_of(tbl)) do
    local most = 1
    for i, cell in ipairs(row.cells) do
      local letters_in_all = lengths(cell, 1, WORD)
      most = math.max(most, math.ceil(letters_in_all / (columns[i] - GAP)))
    end
    total = total + most
  end
  return total
end

local function bold_head(tbl)
  for _, row in ipairs(tbl.head.rows) do
    for _, cell in ipairs(row.cells) do
      cell.contents = cell.contents:walk {Plain = function(p) return pandoc.Plain {pandoc.Strong(p.content)} end}
    end
  end
end

local shape = {}

function shape.typst(tbl, size, height)
  if #tbl.caption.long == 0 then tbl.classes:insert 'typst:no-figure' end
  local open = '#[#show table: set text(size: %gpt)\n#show figure: set block(breakable: %s)'
  return {raw('typst', open:format(size, height > LONG_TABLE)), tbl, raw('typst', ']')}
end

function shape.latex(tbl, size, height)
  local lead = 1.3 * size
  local keep = height > LONG_TABLE and 14 or 1.3 * height + 5
  local open = '\\Needspace{%dpt}\\begingroup\\tabletype{%g}{%g}'
  return {raw('latex', open:format(math.ceil(keep * lead), size, lead)), tbl, raw('latex', '\\endgroup')}
end

function shape.docx(tbl, size)
  local caption, style = tbl.caption, {['custom-style'] = ('Table Text %g'):format(size)}
  local styled = tbl:walk {Plain = function(p) return pandoc.Div(pandoc.Para(p.content), style) end}
  styled.caption = caption
  return styled
end

local function html(tbl)  -- the caption stays in sight where the table has to be scrolled
  local caption, id = tbl.caption.long, tbl.identifier
  tbl.caption, tbl.identifier = pandoc.Caption(), ''
  local name = #caption > 0 and pandoc.utils.stringify(caption) or 'Table'
  if #tbl.colspecs > 6 then tbl.classes = {'wide'} end
  local attributes = {{'tabindex', '0'}, {'role', 'region'}, {'aria-label', name}}
  local box = pandoc.Div(tbl, pandoc.Attr('', {'scroll'}, attributes))
  if #caption == 0 then return box end
  return {
    raw('html', ('<figure class="table" id="%s"><figcaption>'):format(id)), pandoc.Plain(caption[1].content),
    raw('html', '</figcaption>'), box, raw('html', '</figure>'),
  }
end

function Table(tbl)
  keep_numbers_whole(tbl)
  if format == 'html' then return html(tbl) end
  local size, columns = fit(tbl)
  local height = lines(tbl, columns)
  bold_head(tbl)
  return shape[format](tbl, size, height)
end
