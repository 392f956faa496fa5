" Stand-in of GPU Classroom's rehearsal for Vundle, which no package archive carries: its commands and variables as far as a class uses
" them, and none of its code. https://github.com/VundleVim/Vundle.vim is the real one.
let vundle#bundles = []
let vundle#log = []
let vundle#bundle_dir = expand('$HOME/.vim/bundle')

command! -nargs=+ -bar Plugin call s:declare(<args>)
command! -bar PluginInstall call s:install()
command! -bar PluginDocs call s:document()
command! -bar PluginList echo join(map(copy(g:vundle#bundles), 'v:val.name_spec'), "\n")
command! -bang -bar PluginClean call s:clean('<bang>' ==# '!')

function! vundle#begin(...) abort
  let g:vundle#bundle_dir = expand(a:0 ? a:1 : g:vundle#bundle_dir)
  let g:vundle#bundles = []
endfunction

function! vundle#end() abort
endfunction

function! s:declare(spec, ...) abort
  let bundle = {'name_spec': a:spec, 'pinned': a:0 && get(a:1, 'pinned')}
  let bundle.uri = a:spec =~# '://\|^/' ? a:spec : 'https://github.com/' . a:spec . '.git'
  let bundle.name = substitute(fnamemodify(bundle.uri, ':t'), '\.git$', '', '')
  let bundle.rtpath = g:vundle#bundle_dir . '/' . bundle.name
  let bundle.path = {-> bundle.rtpath}
  call add(g:vundle#bundles, bundle)
  let &runtimepath = join([bundle.rtpath, &runtimepath, bundle.rtpath . '/after'], ',')
endfunction

function! s:install() abort
  for bundle in filter(copy(g:vundle#bundles), '!v:val.pinned && !isdirectory(v:val.rtpath . "/.git")')
    let said = system(printf('git clone --depth 1 --recursive %s %s', shellescape(bundle.uri), shellescape(bundle.rtpath)))
    call extend(g:vundle#log, ['Plugin ' . bundle.name_spec] + split(said, "\n"))
  endfor
  call s:document()
endfunction

function! s:document() abort
  for bundle in filter(copy(g:vundle#bundles), '!empty(glob(v:val.rtpath . "/doc/*.txt"))')
    execute 'helptags' fnameescape(bundle.rtpath . '/doc')
  endfor
endfunction

function! s:clean(now) abort
  let own = map(copy(g:vundle#bundles), 'v:val.rtpath')
  for folder in filter(glob(g:vundle#bundle_dir . '/*', 0, 1), 'index(own, v:val) < 0')
    if a:now || confirm('Delete ' . folder . '?', "&Yes\n&No") == 1
      call delete(folder, 'rf')
    endif
  endfor
endfunction
