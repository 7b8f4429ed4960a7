// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPaymentChannels as I} from "../../src/interfaces/IPaymentChannels.sol";
import {ChannelConfig, ClaimRecord, Item} from "../../src/interfaces/Types.sol";
import {vm, Vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

/// @notice A bad item of the base model's lane is skipped, says why, pays nothing, and does not stop the one beside it.
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
        _isSkipped(_item(config, 0, 10), 1);
    }

    /// @dev The replay: a voucher's ceiling is what may ever be claimed, so a second time it covers nothing new.
    function test_replayed_voucher_pays_nothing() public {
        Item memory item = _item(_bad, 0, 10);
        _claim(_ids(BASE), _items(item));
        _isSkipped(item, 2);
        item = _item(_bad, 10, 20);
        (item.maxClaimable, item.signature) = (10, _voucher(_bad, BASE, 10));
        _isSkipped(item, 4);
    }

    function test_the_same_item_twice_in_a_claim_pays_once() public {
        Item memory item = _item(_bad, 0, 10);
        ClaimRecord memory record = _claim(_ids(BASE), _items(item, item));
        eq("gross", record.gross, 10);
    }

    function test_a_gap_is_skipped() public {
        _isSkipped(_item(_bad, 1, 10), 2);
    }

    function test_nothing_new_is_skipped() public {
        Item memory item = _item(_bad, 0, 10);
        item.to = 0;
        _isSkipped(item, 3);
        _claim(_ids(BASE), _items(_item(_bad, 0, 10)));
        item.from = 10;
        item.to = 9;
        _isSkipped(item, 3);
    }

    function test_above_the_voucher_is_skipped() public {
        Item memory item = _item(_bad, 0, 10);
        (item.maxClaimable, item.signature) = (9, _voucher(_bad, BASE, 9));
        _isSkipped(item, 4);
    }

    /// @dev Other channels' deposits are in the same contract: no voucher reaches them.
    function test_above_the_deposit_is_skipped() public {
        _isSkipped(_item(_bad, 0, DEPOSIT + 1), 5);
    }

    function test_a_channel_that_was_never_opened_is_skipped() public {
        _isSkipped(_item(_config(9), 0, 1), 5);
    }

    /// @dev F: an adapter's money, claimed as the base model's, would leave its owner and its contributors nothing.
    function test_a_voucher_for_an_adapter_is_none_for_the_base_model() public {
        Item memory item = _item(_bad, 0, 10);
        item.signature = _voucher(_bad, ONE, 10);
        _isSkipped(item, 6);
    }

    function test_a_voucher_for_the_base_model_is_none_for_an_adapter() public {
        Item memory item = _lane(_bad, ONE, 1, 0, 10);
        item.signature = _voucher(_bad, BASE, 10);
        (I.SkipCode code, ClaimRecord memory record) = _claimBoth(_item(_good, 0, 7), item, 1);
        yes("code", code == I.SkipCode.BadVoucher);
        eq("gross", record.gross, 7);
    }

    /// @dev F: lanes share one deposit. What one took is not there for another.
    function test_lanes_together_take_no_more_than_the_deposit() public {
        _claim(_ids(ONE), _items(_lane(_bad, ONE, 0, 0, DEPOSIT - 5)));
        _isSkipped(_item(_bad, 0, 6), 5);
        ClaimRecord memory record = _claim(_ids(BASE, TWO), _items(_item(_bad, 0, 3), _lane(_bad, TWO, 1, 0, 3)));
        eq("only the first fits", record.gross, 3);
        eq("left", _left(_bad), 2);
    }

    function test_each_lane_counts_for_itself() public {
        bytes32 id = channels.channelId(_bad);
        _claim(_ids(BASE, ONE), _items(_item(_bad, 0, 10), _lane(_bad, ONE, 1, 0, 20)));
        _claim(_ids(BASE, ONE), _items(_item(_bad, 10, 11), _lane(_bad, ONE, 1, 20, 25)));
        eq("base", channels.laneClaimed(id, BASE), 11);
        eq("one", channels.laneClaimed(id, ONE), 25);
        eq("two", channels.laneClaimed(id, TWO), 0);
        eq("left", _left(_bad), DEPOSIT - 36);
    }

    function test_a_voucher_by_anybody_but_the_authorizer_is_skipped() public {
        Item memory item = _item(_bad, 0, 10);
        uint256[3] memory keys = [PAYER_KEY, NODE_KEY, STRANGER_KEY];
        for (uint256 i = 0; i < keys.length; ++i) {
            item.signature = _voucherBy(keys[i], _bad, BASE, 10);
            _isSkipped(item, 6);
        }
    }

    function test_a_voucher_for_another_channel_is_skipped() public {
        Item memory item = _item(_bad, 0, 10);
        item.signature = _voucher(_good, BASE, 10);
        _isSkipped(item, 6);
    }

    function test_a_raised_ceiling_is_skipped() public {
        Item memory item = _item(_bad, 0, 10);
        item.signature = _voucher(_bad, BASE, 9);
        _isSkipped(item, 6);
    }

    function test_a_signature_in_another_form_is_skipped() public {
        Item memory item = _item(_bad, 0, 10);
        bytes[4] memory forms = _forms(item.signature);
        for (uint256 i = 0; i < forms.length; ++i) {
            item.signature = forms[i];
            _isSkipped(item, 6);
        }
    }

    function test_an_item_without_a_signature_is_skipped() public {
        Item memory item = _item(_bad, 0, 10);
        item.signature = "";
        _isSkipped(item, 6);
    }

    /// @dev An item of a config that no word of 20 bytes can hold has an id that nobody could open.
    function test_a_config_with_dirty_bits_is_no_channel() public {
        bytes32[] memory adapters = _ids(BASE);
        Item[] memory items = _items(_item(_bad, 0, 10));
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
        (I.SkipCode found, ClaimRecord memory record) = _claimBoth(bad, _item(_good, from, from + 7), 0);
        eq("gross", record.gross, 7);
        eq("the bad one pays nothing", _left(_bad), before);
        eq("the good one pays", _left(_good), DEPOSIT - from - 7);
        eq("code", uint8(found), code);
    }

    function _claimBoth(Item memory first_, Item memory second_, uint256 bad)
        private
        returns (I.SkipCode code, ClaimRecord memory record)
    {
        bytes32[] memory adapters = _ids(BASE, ONE);
        Item[] memory items = _items(first_, second_);
        vm.recordLogs();
        bytes memory signature = _epochClaimSignature(SIGNER_KEY, _epochClaim(adapters, items));
        channels.claim(_epochClaim(adapters, items), adapters, items, signature);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        eq("logs", logs.length, 2);
        eq("skipped", logs[0].topics[0], I.Skipped.selector);
        eq("channel", logs[0].topics[1], channels.channelId(items[bad].config));
        bytes32 adapterId;
        (adapterId, code) = abi.decode(logs[0].data, (bytes32, I.SkipCode));
        eq("lane", adapterId, adapters[items[bad].adapter]);
        record = abi.decode(logs[1].data, (ClaimRecord));
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
