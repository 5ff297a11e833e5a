program Broken;
var
  Answer: Integer;
begin
  Answer := 'forty-two';
  WriteLn(Answer);
end.
