// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPaymentChannels as I} from "../../src/interfaces/IPaymentChannels.sol";
import {ChannelConfig, ClaimRecord, Item, Part} from "../../src/interfaces/Types.sol";
import {vm, Vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

/// @notice A bad item is skipped, says why, pays nothing, and does not stop the one beside it.
contract ClaimSkipsTest is World {
    ChannelConfig private _bad;
    ChannelConfig private _good;

    function setUp() public override {
        super.setUp();
        _bad = _open(1);
        _good = _open(2);
    }

    function test_another_nodes_channel_is_skipped() public {
        ChannelConfig memory config = _config(3);
        config.node = stranger;
        vm.prank(payer);
        channels.open(config, DEPOSIT);
        _isSkipped(_item(config, 0, 10, 0), 1);
    }

    /// @dev The replay: a voucher's ceiling is what may ever be claimed, so a second time it covers nothing new.
    function test_replayed_voucher_pays_nothing() public {
        Item memory item = _item(_bad, 0, 10, 0);
        _claim(_ids(BASE), _items(item));
        _isSkipped(item, 2);
        item = _item(_bad, 10, 20, 0);
        (item.maxClaimable, item.signature) = (10, _voucher(_bad, 10));
        _isSkipped(item, 4);
    }

    function test_the_same_item_twice_in_a_claim_pays_once() public {
        Item memory item = _item(_bad, 0, 10, 0);
        ClaimRecord memory record = _claim(_ids(BASE), _items(item, item));
        eq("gross", record.gross, 10);
        eq("skipped", record.skipped, 2);
    }

    function test_a_gap_is_skipped() public {
        _isSkipped(_item(_bad, 1, 10, 0), 2);
    }

    function test_nothing_new_is_skipped() public {
        Item memory item = _item(_bad, 0, 10, 0);
        (item.to, item.parts[0].amount) = (0, 0);
        _isSkipped(item, 3);
        _claim(_ids(BASE), _items(_item(_bad, 0, 10, 0)));
        item.from = 10;
        item.to = 9;
        _isSkipped(item, 3);
    }

    function test_above_the_voucher_is_skipped() public {
        Item memory item = _item(_bad, 0, 10, 0);
        (item.maxClaimable, item.signature) = (9, _voucher(_bad, 9));
        _isSkipped(item, 4);
    }

    /// @dev Other channels' deposits are in the same contract: no voucher reaches them.
    function test_above_the_deposit_is_skipped() public {
        _isSkipped(_item(_bad, 0, DEPOSIT + 1, 0), 5);
    }

    function test_a_channel_that_was_never_opened_is_skipped() public {
        _isSkipped(_item(_config(9), 0, 1, 0), 5);
    }

    function test_parts_that_do_not_sum_up_are_skipped() public {
        Item memory item = _item(_bad, 0, 10, 0);
        item.parts[0].amount = 9;
        _isSkipped(item, 6);
        item.parts[0].amount = 11;
        _isSkipped(item, 6);
        item.parts = new Part[](0);
        _isSkipped(item, 6);
    }

    function test_parts_whose_sum_would_wrap_are_skipped() public {
        Item memory item = _item(_bad, 0, 10, 0);
        item.parts = new Part[](2);
        item.parts[0] = Part({adapter: 0, amount: type(uint128).max});
        item.parts[1] = Part({adapter: 1, amount: 11});
        _isSkipped(item, 6);
    }

    function test_parts_that_do_not_ascend_are_skipped() public {
        Item memory item = _item(_bad, 0, 10, 0);
        item.parts = new Part[](2);
        item.parts[0] = Part({adapter: 1, amount: 5});
        item.parts[1] = Part({adapter: 1, amount: 5});
        _isSkipped(item, 6);
        item.parts[1].adapter = 0;
        _isSkipped(item, 6);
    }

    function test_a_part_of_an_adapter_that_is_not_named_is_skipped() public {
        Item memory item = _item(_bad, 0, 10, 2);
        _isSkipped(item, 6);
    }

    function test_a_voucher_by_anybody_but_the_authorizer_is_skipped() public {
        Item memory item = _item(_bad, 0, 10, 0);
        bytes32 kind = keccak256("Voucher(bytes32 channelId,uint128 maxClaimable)");
        bytes32 digest = _payments(keccak256(abi.encode(kind, channels.channelId(_bad), uint128(10))));
        uint256[3] memory keys = [PAYER_KEY, NODE_KEY, STRANGER_KEY];
        for (uint256 i = 0; i < keys.length; ++i) {
            item.signature = _sign(keys[i], digest);
            _isSkipped(item, 7);
        }
    }

    function test_a_voucher_for_another_channel_is_skipped() public {
        Item memory item = _item(_bad, 0, 10, 0);
        item.signature = _voucher(_good, 10);
        _isSkipped(item, 7);
    }

    function test_a_raised_ceiling_is_skipped() public {
        Item memory item = _item(_bad, 0, 10, 0);
        item.signature = _voucher(_bad, 9);
        _isSkipped(item, 7);
    }

    function test_a_signature_in_another_form_is_skipped() public {
        Item memory item = _item(_bad, 0, 10, 0);
        bytes[4] memory forms = _forms(item.signature);
        for (uint256 i = 0; i < forms.length; ++i) {
            item.signature = forms[i];
            _isSkipped(item, 7);
        }
    }

    /// @dev Nor does it cost what its neighbour's bytes, taken for a number of parts, would cost to walk.
    function test_an_item_without_a_signature_is_skipped() public {
        Item memory item = _item(_bad, 0, 10, 0);
        item.signature = "";
        uint256 before = gasleft();
        _isSkipped(item, 7);
        yes("in reason", before - gasleft() < 1_000_000);
    }

    /// @dev An item of a config that no word of 20 bytes can hold has an id that nobody could open.
    function test_a_config_with_dirty_bits_is_no_channel() public {
        bytes32[] memory adapters = _ids(BASE);
        Item[] memory items = _items(_item(_bad, 0, 10, 0));
        bytes memory call = abi.encodeCall(channels.claim, (_epochClaim(adapters, items), adapters, items, ""));
        uint256 at = _find(call, abi.encode(payer));
        call[at] = 0x01;
        vm.prank(signer);
        (bool success,) = address(channels).call(call);
        yes("refused", !success);
    }

    function _isSkipped(Item memory bad, uint8 code) private {
        uint128 from = DEPOSIT - _left(_good);
        uint128 before = _left(_bad);
        vm.recordLogs();
        ClaimRecord memory record = _claimBoth(bad, _item(_good, from, from + 7, 0));
        eq("gross", record.gross, 7);
        eq("skipped", record.skipped, 1);
        eq("the bad one pays nothing", _left(_bad), before);
        eq("the good one pays", _left(_good), DEPOSIT - from - 7);
        eq("code", _code, code);
    }

    uint256 private _code;

    function _claimBoth(Item memory bad, Item memory good) private returns (ClaimRecord memory) {
        bytes32[] memory adapters = _ids(BASE, ONE);
        Item[] memory items = _items(bad, good);
        vm.recordLogs();
        bytes memory signature = _epochClaimSignature(SIGNER_KEY, _epochClaim(adapters, items));
        channels.claim(_epochClaim(adapters, items), adapters, items, signature);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        eq("logs", logs.length, 2);
        eq("skipped", logs[0].topics[0], I.Skipped.selector);
        eq("channel", logs[0].topics[1], channels.channelId(bad.config));
        _code = abi.decode(logs[0].data, (uint8));
        return abi.decode(logs[1].data, (ClaimRecord));
    }

    function _find(bytes memory text, bytes memory word) private pure returns (uint256 at) {
        for (at = 4; at < text.length; at += 32) {
            bytes32 found;
            assembly {
                found := mload(add(add(text, 0x20), at))
            }
            if (found == bytes32(word)) return at;
        }
        revert();
    }
}
