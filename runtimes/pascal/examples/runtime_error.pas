program Fails;
{$mode objfpc}
uses
  SysUtils;
begin
  WriteLn('before');
  Flush(Output);
  raise Exception.Create('nobody catches this');
end.
